"""What waits under one request id, as bytes of our own, so that a savepoint outlives code, mode and library.

A request goes through at most three states: `Early` (actions came, the features did not), `Waiting` (the
features are here and a label is open) and `Closed` (a short memory, which tells a late or repeated event
from an orphan).

Bytes, version 2, little endian: u8 version, u8 kind, then

    E  per action until the end: i32 length of the key (-1: none), u32 length of the value,
       u32 partition, i64 offset, i64 logged at, key, value
    W  i64 request's time, i64 closed through, u32 length of the value, value,
       per label taken until the end: u32 position of the item in the event, u32 label,
       u8 stage (0: waits for its window, 1: has left), f32 value, i64 action's time, i64 logged at
    C  i64 request's time, per label taken until the end: u32 label, u32 length of the item id, item id

A label is written as `label_id`: it keeps its meaning when others are added before it. Version 1, which is
read and no longer written, had of a label taken only position and label: it had left, with 1.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

VERSION: Final = 2
_KIND: Final = struct.Struct("<BB")
_ACTION: Final = struct.Struct("<iIIqq")
_WAITING: Final = struct.Struct("<qqI")
_TAKEN: Final = struct.Struct("<IIBfqq")
_CLOSED: Final = struct.Struct("<q")
_PAIR: Final = struct.Struct("<II")
_EARLY_KIND, _WAITING_KIND, _CLOSED_KIND = b"EWC"


class StateError(ValueError):
    """Bytes that are no state of these versions. That is a bug or a wrong savepoint: it fails the job."""


@dataclass(frozen=True, slots=True)
class EarlyAction:
    """An action whose request has not come yet, as its Kafka record was."""

    key: bytes | None
    value: bytes
    partition: int
    offset: int
    logged_ts_ms: int


@dataclass(frozen=True, slots=True)
class Early:
    """Actions that wait for their request."""

    actions: tuple[EarlyAction, ...]


class Taken(NamedTuple):
    """The action that a label of an item took, and what it made of the label (a 32-bit float)."""

    has_left: bool
    """As an example; else it waits for the label's window to close."""
    value: float
    action_ts_ms: int
    logged_ts_ms: int


OF_VERSION_1: Final = Taken(True, 1.0, 0, 0)
"""What version 1 knew of a label taken."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request with at least one open label; `value` is the event as it came.

    `closed_through_ms`: what ends by then has ended, of every label. `taken`: by position of the item in the
    event and `label_id`.
    """

    ts_ms: int
    closed_through_ms: int
    value: bytes
    taken: Mapping[tuple[int, int], Taken] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closed:
    """A request whose last label has ended. `taken`: (item id, `label_id`) of those that took an action."""

    ts_ms: int
    taken: frozenset[tuple[str, int]] = frozenset()


State = Early | Waiting | Closed


def label_id(name: str) -> int:
    """32 bits that stand for a label in the state."""
    return zlib.crc32(name.encode())


def encode(state: State) -> bytes:
    """The bytes of a state; equal states give equal bytes."""
    match state:
        case Waiting():
            parts = [
                _KIND.pack(VERSION, _WAITING_KIND),
                _WAITING.pack(state.ts_ms, state.closed_through_ms, len(state.value)),
                state.value,
                *(_TAKEN.pack(*place, *taken) for place, taken in sorted(state.taken.items())),
            ]
        case Closed():
            parts = [_KIND.pack(VERSION, _CLOSED_KIND), _CLOSED.pack(state.ts_ms)]
            for item_id, label in sorted(state.taken):
                parts += [_PAIR.pack(label, len(item_id.encode())), item_id.encode()]
        case Early():
            parts = [_KIND.pack(VERSION, _EARLY_KIND), *map(_encode_action, state.actions)]
    return b"".join(parts)


def decode(data: bytes) -> State:
    """The reverse of `encode`, for version 1 too. Raises StateError."""
    try:
        version, kind = _KIND.unpack_from(data)
        if version not in _DECODERS:
            raise StateError(f"state of version {version}: this joiner reads versions 1 and {VERSION}")
        return _DECODERS[version][kind](data, _KIND.size)
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise StateError(f"not a state: {error!r} in {bytes(data[:64])!r}") from None


def _encode_action(action: EarlyAction) -> bytes:
    key_bytes = -1 if action.key is None else len(action.key)
    header = _ACTION.pack(key_bytes, len(action.value), action.partition, action.offset, action.logged_ts_ms)
    return header + (action.key or b"") + action.value


def _decode_waiting(data: bytes, place: int) -> Waiting:
    ts_ms, closed_through_ms, value, rest = _waiting(data, place)
    return Waiting(ts_ms, closed_through_ms, value, dict(_taken(rest)))


def _decode_waiting_v1(data: bytes, place: int) -> Waiting:
    ts_ms, closed_through_ms, value, rest = _waiting(data, place)
    pairs = ((position, label) for position, label in _PAIR.iter_unpack(rest))
    return Waiting(ts_ms, closed_through_ms, value, dict.fromkeys(pairs, OF_VERSION_1))


def _waiting(data: bytes, place: int) -> tuple[int, int, bytes, bytes]:
    ts_ms, closed_through_ms, value_bytes = _WAITING.unpack_from(data, place)
    start = place + _WAITING.size
    return ts_ms, closed_through_ms, _slice(data, start, value_bytes), data[start + value_bytes :]


def _taken(data: bytes) -> Iterator[tuple[tuple[int, int], Taken]]:
    for position, label, stage, value, action_ts_ms, logged_ts_ms in _TAKEN.iter_unpack(data):
        if stage > 1 or not math.isfinite(value):
            raise struct.error(f"stage {stage}, value {value}")
        yield (position, label), Taken(bool(stage), value, action_ts_ms, logged_ts_ms)


def _decode_closed(data: bytes, place: int) -> Closed:
    (ts_ms,) = _CLOSED.unpack_from(data, place)
    return Closed(ts_ms, frozenset(_closed_taken(data, place + _CLOSED.size)))


def _closed_taken(data: bytes, place: int) -> Iterator[tuple[str, int]]:
    while place < len(data):
        label, id_bytes = _PAIR.unpack_from(data, place)
        place += _PAIR.size
        yield _slice(data, place, id_bytes).decode(), label
        place += id_bytes


def _decode_early(data: bytes, place: int) -> Early:
    return Early(tuple(_early_actions(data, place)))


def _early_actions(data: bytes, place: int) -> Iterator[EarlyAction]:
    while place < len(data):
        key_bytes, value_bytes, partition, offset, logged_ts_ms = _ACTION.unpack_from(data, place)
        place += _ACTION.size
        key = None if key_bytes < 0 else _slice(data, place, key_bytes)
        place += max(key_bytes, 0)
        yield EarlyAction(key, _slice(data, place, value_bytes), partition, offset, logged_ts_ms)
        place += value_bytes


def _slice(data: bytes, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise struct.error(f"bytes end at {start + length}, the state at {len(data)}")
    return data[start : start + length]


_Decoder = Callable[[bytes, int], State]
_OF_VERSION_2: Final[dict[int, _Decoder]] = {
    _EARLY_KIND: _decode_early,
    _WAITING_KIND: _decode_waiting,
    _CLOSED_KIND: _decode_closed,
}
_DECODERS: Final = {1: {**_OF_VERSION_2, _WAITING_KIND: _decode_waiting_v1}, VERSION: _OF_VERSION_2}
