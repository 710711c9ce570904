"""The native part of the parameter server. Use ps.table."""

import enum
from typing import Annotated

import numpy
from numpy.typing import NDArray


class InitializerKind(enum.Enum):
    zeros = 0

    constant = 1

    uniform = 2

    normal = 3

    truncated_normal = 4

class OptimizerKind(enum.Enum):
    none = 0

    sgd = 1

    momentum = 2

    adagrad = 3

    rowwise_adagrad = 4

    adam = 5

    adamw = 6

    rmsprop = 7

    adadelta = 8

    ftrl = 9

    group_ftrl = 10

class BadGradients(enum.Enum):
    refuse = 0

    skip = 1

    clip = 2

class RowFormat(enum.Enum):
    float32 = 0

    float16 = 1

    int8 = 2

class OptimizerConstants:
    def __init__(self, *, momentum: float, nesterov: bool, initial_accumulator: float, beta_1: float, beta_2: float, rho: float, epsilon: float, weight_decay: float, learning_rate_power: float, beta: float, l1: float, l2: float, l2_shrinkage: float, l21: float, clipvalue: float, clipnorm: float, bad_gradients: BadGradients) -> None: ...

class Optimizer:
    def __init__(self, kind: OptimizerKind, constants: OptimizerConstants, dim: int) -> None: ...

    @property
    def state_floats(self) -> int: ...

    def initialize_state(self, state: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def step(self, row: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')], gradient: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], learning_rate: float) -> None: ...

class WhenFull(enum.Enum):
    oldest = 0

    least_frequent = 1

    refuse = 2

class BoundsConfig:
    def __init__(self, *, min_count: int, window_ms: int, tracked_ids: int, probability: float, expire_after_ms: int, max_rows: int, when_full: WhenFull, slice_rows: int, room_rows: int, seed: int) -> None: ...

class BoundsCounts:
    @property
    def admitted(self) -> int: ...

    @property
    def refused(self) -> int: ...

    @property
    def full(self) -> int: ...

    @property
    def expired(self) -> int: ...

    @property
    def evicted(self) -> int: ...

    @property
    def overflows(self) -> int: ...

class AdmissionFilter:
    def __init__(self, min_count: int, window_ms: int, tracked_ids: int, seed: int) -> None: ...

    def advance_to(self, now_ms: int) -> None: ...

    def sight(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def count(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    @property
    def false_share(self) -> float: ...

    @property
    def bytes(self) -> int: ...

    @property
    def overflows(self) -> int: ...

class Bounds:
    def __init__(self, config: BoundsConfig) -> None: ...

    def begin_batch(self, rows: object, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], ts_ms: int, skip: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def end_batch(self, rows: object) -> None: ...

    def start_pass(self) -> None: ...

    def sweep(self, rows: object) -> int: ...

    def enroll(self, rows: object, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    def forget(self, rows: object, removed: int) -> None: ...

    def save(self) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C')]]: ...

    def restore(self, rows: object, numbers: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], roster: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], filter: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bool: ...

    @property
    def now_ms(self) -> int | None: ...

    @property
    def counts(self) -> BoundsCounts: ...

    @property
    def bytes(self) -> int: ...

class Cut:
    def next(self, most: int) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C')]]: ...

    def close(self) -> None: ...

class Table:
    def __init__(self, *, dim: int, format: RowFormat, initializer: InitializerKind, scale: float, optimizer: OptimizerKind, constants: OptimizerConstants, seed: int, placement_seed: int, initial_capacity_rows: int, threads: int, portable: bool) -> None: ...

    def lookup(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu')]) -> None: ...

    def find(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu')], found: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def lookup_unique(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C')]]: ...

    def apply_gradients(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], gradients: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], ts_ms: int, learning_rate: float) -> None: ...

    def assign(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], last_update_ms: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], counts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    def remove(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> int: ...

    def oldest(self, segment: int, most: int) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C')]]: ...

    def put_back(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], last_update_ms: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], counts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    def take_out(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> int: ...

    def stamps(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C')]]: ...

    def restamp(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], ts_ms: int) -> None: ...

    def contains(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def count(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

    def items(self) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C')]]: ...

    def cut(self) -> Cut: ...

    def mark(self) -> int: ...

    def forget(self, mark: int) -> None: ...

    def touched_since(self, mark: int, move: bool) -> Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')]: ...

    def clone(self) -> Table: ...

    def set_bounds(self, config: BoundsConfig) -> None: ...

    def start_pass(self) -> None: ...

    def sweep(self) -> int: ...

    def bounds_counts(self) -> BoundsCounts: ...

    def bounds_state(self) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C')]]: ...

    def restore_bounds(self, numbers: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], roster: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], filter: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bool: ...

    def ages(self) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C')]]: ...

    def __len__(self) -> int: ...

    @property
    def now_ms(self) -> int | None: ...

    @property
    def row_floats(self) -> int: ...

    @property
    def skipped_rows(self) -> int: ...

    @property
    def clipped_rows(self) -> int: ...

    @property
    def capacity(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...

SEGMENTS: int = 64

def unique(ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C')], Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C')]]: ...

def mix(key: int, seed: int) -> int: ...
