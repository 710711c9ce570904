"""The shards as a trainer sees them: one parameter server, ids and tensors routed to where they belong."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from math import prod
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import numpy as np

from ps import wire
from ps.arrays import Bools, Float32, Int64, check_array
from ps.connection import (
    Answer,
    Connection,
    Request,
    ShardError,
    ShardRestarted,
    ShardTimeoutError,
    ShardUnavailableError,
    Stream,
    Watchdog,
)
from ps.push import STRICT, Push, PushRefused, Span, Tolerance, TooLargeError
from ps.router import shard_of, shard_of_name

__all__ = [
    "Push",
    "PushRefused",
    "ShardError",
    "ShardRestarted",
    "ShardTimeoutError",
    "ShardUnavailableError",
    "Shards",
    "Span",
    "Tolerance",
    "TooLargeError",
]

_LOOK_AT_ALL_TIMEOUT_S: Final = 600.0
"""Of what goes over all rows."""
_T = TypeVar("_T")


class Shards:
    """A client of all shards. Thread-safe; requests go to all shards at once.

    A shard that restarts is waited for, `reconnect_s` long, and asked again: a push that comes twice is
    applied once. When its new life is not the one whose marks were read, a push raises ShardRestarted.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout_s: float = 10.0,
        reconnect_s: float = 60.0,
        tolerance: Tolerance = STRICT,
    ) -> None:
        """`addresses`: host:port of every shard, in order. Connects with the first request.

        `tolerance`: that of the shards' settings; what they would refuse is not sent.
        """
        self._tolerance = tolerance
        self._watchdog = Watchdog()
        self._connections = [
            Connection(
                address, index, len(addresses), self._watchdog, timeout_s=timeout_s, reconnect_s=reconnect_s
            )
            for index, address in enumerate(addresses)
        ]
        self._dims: dict[str, int] = {}
        self._dense_shapes: dict[str, tuple[int, ...]] = {}
        self._dense_bytes = [0] * len(addresses)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()
        self._watchdog.close()

    def pull(self, ids: Mapping[str, Int64]) -> tuple[dict[str, Float32], dict[str, Float32]]:
        """The rows `float32[n, dim]` of `ids` `int64[n]` by table, and all dense tensors. Read only.

        Raises ValueError for a table that the shards do not have, TooLargeError when the rows, or later their
        gradients, would not go into a frame; ShardError.
        """
        for name, array in ids.items():
            check_array(array, f"ids of table {name!r}", np.int64, (None,))
        if ids.keys() - self._dims.keys():
            # No rows tell how long theirs are.
            self._pull(_Route.of({name: array[:0] for name, array in ids.items()}, len(self._connections)))
        route = _Route.of(ids, len(self._connections))
        for part, dense_bytes in zip(route.parts, self._dense_bytes, strict=True):
            _check_room(dense_bytes + sum((8 + 4 * self._dims[n]) * len(i) for n, i in part.ids.items()))
        return self._pull(route)

    def _pull(self, route: "_Route") -> tuple[dict[str, Float32], dict[str, Float32]]:
        answers = self._ask([_pull_request(part) for part in route.parts])
        dense: dict[str, Float32] = {}
        rows: list[dict[str, Float32]] = []
        dense_bytes: list[int] = []
        for header, body in answers:
            assert isinstance(header, wire.RowsHeader)
            rows.append({name: body.float32s((n, dim)) for name, n, dim in header.tables})
            dense |= wire.read_tensors(header.dense, body)
            self._dims |= {name: dim for name, _, dim in header.tables}
            dense_bytes.append(sum(4 * prod(shape) for _, shape in header.dense))
        self._dense_bytes = dense_bytes
        self._dense_shapes = {name: tensor.shape for name, tensor in dense.items()}
        return route.gather(rows), dense

    def push(self, push: Push) -> None:
        """Apply `push` on every shard, also those that it has no rows for: each advances its marks.

        Raises PushRefused (ShardRestarted) when a shard is not at the push's spans; TooLargeError, with no
        shard asked; ValueError when the push is malformed; ShardError.
        """
        for name, (ids, gradients) in push.tables.items():
            check_array(ids, f"ids of table {name!r}", np.int64, (None,))
            check_array(gradients, f"gradients of table {name!r}", np.float32, (len(ids), None))
        # Each shard checks its part; what one would refuse and another apply is found before any is asked.
        push.check(self._tolerance)
        self._check_dense(push.dense)
        route = _Route.of({name: ids for name, (ids, _) in push.tables.items()}, len(self._connections))
        parts = _split(push, route)
        for part in parts:
            _check_room(part.array_bytes)
        self._ask([_push_request(part) for part in parts])

    def initialize_dense(self, tensors: Mapping[str, Float32]) -> None:
        """Give the dense tensors their initial values; those that have one already keep it.

        Raises ValueError when a tensor has one of another shape.
        """
        parts = _split_dense(tensors, len(self._connections))
        self._ask([_initialize_request(part) for part in parts])

    def marks(self) -> list[dict[int, int]]:
        """By shard: partition of `examples` to the next position that it has not learnt.

        A partition that one shard knows and another does not (it lost all it had) is at 0 there. From now on
        pushes are meant for the lives that the shards are in.
        """
        marks = self._on_all(lambda connection: connection.marks())
        known = {partition for shard in marks for partition in shard}
        return [{partition: shard.get(partition, 0) for partition in known} for shard in marks]

    def status(self) -> list[dict[str, Any]]:
        """What each shard says about itself."""
        return self._on_all(lambda connection: connection.act("status"))

    def snapshot(self) -> None:
        """Have every shard write a snapshot now, and wait for it."""
        self._on_all(lambda connection: connection.act("snapshot", _LOOK_AT_ALL_TIMEOUT_S))

    def expire(self, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each shard answers to its action `expire` with these `options` (`ps.bounds.ExpireRequest`).

        Raises ShardError, also when a shard can make no sense of them.
        """
        return self._on_all(lambda connection: connection.act("expire", _LOOK_AT_ALL_TIMEOUT_S, options))

    def _check_dense(self, gradients: Mapping[str, Float32]) -> None:
        if gradients.keys() - self._dense_shapes.keys():
            self.pull({})
        for name, gradient in gradients.items():
            if name not in self._dense_shapes:
                raise ValueError(f"dense tensor {name!r} is unknown: initialize_dense comes first")
            check_array(gradient, f"gradient of dense tensor {name!r}", np.float32, self._dense_shapes[name])

    def _on_all(self, ask: Callable[[Connection], _T]) -> list[_T]:
        with ThreadPoolExecutor(len(self._connections)) as pool:
            return list(pool.map(ask, self._connections))

    def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Send every shard its request, then collect all answers; raises the first error among them."""
        pairs = list(zip(self._connections, requests, strict=True))
        streams = [connection.send(request) for connection, request in pairs]
        outcomes = [_outcome(c, stream, r) for (c, r), stream in zip(pairs, streams, strict=True)]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


def _outcome(connection: Connection, stream: Stream | None, request: Request) -> Answer | Exception:
    """An answer, or the error it came to: the other shards' answers must be read all the same."""
    try:
        return connection.receive(stream, request)
    except (ShardError, PushRefused, ValueError) as error:
        return error


def _check_room(body_bytes: int) -> None:
    if body_bytes > wire.MAX_BODY_BYTES:
        raise TooLargeError(f"{body_bytes} bytes for one shard; {wire.MAX_BODY_BYTES} are allowed")


class _Part(NamedTuple):
    """What goes to one shard: by table, which of the ids (ascending positions), and those ids."""

    where: dict[str, Int64]
    ids: dict[str, Int64]


class _Route(NamedTuple):
    """Which ids of which table go to which shard."""

    sizes: dict[str, int]
    parts: list[_Part]

    @staticmethod
    def of(ids: Mapping[str, Int64], shards: int) -> "_Route":
        """One pass over all tables' ids together: many tables cost no more than one."""
        sizes = {name: len(array) for name, array in ids.items()}
        together = np.concatenate([np.empty(0, np.int64), *ids.values()])
        owners = shard_of(together, shards)
        ends = np.cumsum([0, *sizes.values()])
        return _Route(sizes, [_part(together, owners == shard, ends, list(ids)) for shard in range(shards)])

    def gather(self, rows: Sequence[Mapping[str, Float32]]) -> dict[str, Float32]:
        """Each table's rows in the order of its ids, from every shard's rows."""
        if len(rows) == 1:
            return dict(rows[0])
        together = {}
        for name, size in self.sizes.items():
            out = np.empty((size, rows[0][name].shape[1]), np.float32)
            for part, found in zip(self.parts, rows, strict=True):
                out[part.where[name]] = found[name]
            together[name] = out
        return together


def _part(together: Int64, mine: Bools, ends: Int64, names: Sequence[str]) -> _Part:
    chosen = np.flatnonzero(mine)
    ids = together[chosen]
    cuts = np.searchsorted(chosen, ends)
    slices = [slice(a, b) for a, b in pairwise(cuts.tolist())]
    return _Part(
        where={
            name: chosen[cut] - start for name, cut, start in zip(names, slices, ends.tolist(), strict=False)
        },
        ids={name: ids[cut] for name, cut in zip(names, slices, strict=True)},
    )


def _split(push: Push, route: _Route) -> list[Push]:
    """The push of each shard: its rows and tensors, and all spans and samples."""
    shards = len(route.parts)
    dense = _split_dense(push.dense, shards)
    return [
        replace(push, dense=tensors, tables=_rows(push, part, whole=shards == 1))
        for part, tensors in zip(route.parts, dense, strict=True)
    ]


def _rows(push: Push, part: _Part, *, whole: bool) -> Mapping[str, tuple[Int64, Float32]]:
    if whole:
        return push.tables
    return {name: (part.ids[name], grads[part.where[name]]) for name, (_, grads) in push.tables.items()}


def _split_dense(tensors: Mapping[str, Float32], shards: int) -> list[dict[str, Float32]]:
    parts: list[dict[str, Float32]] = [{} for _ in range(shards)]
    for name, tensor in tensors.items():
        parts[shard_of_name(name, shards)][name] = np.asarray(tensor, np.float32)
    return parts


def _pull_request(part: _Part) -> Request:
    header = wire.PullHeader.model_construct(tables=[(name, len(ids)) for name, ids in part.ids.items()])
    frame = wire.encode(header, list(part.ids.values()))
    return lambda epoch: frame


def _push_request(push: Push) -> Request:
    return lambda epoch: wire.encode_push(push, epoch)


def _initialize_request(tensors: Mapping[str, Float32]) -> Request:
    return lambda epoch: wire.encode_initialize(tensors)
