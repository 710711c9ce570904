"""A shard on the wire: Arrow Flight, one long-lived `do_exchange` stream per client, actions for the rest.

Actions (JSON in, JSON out): `hello`, `marks`, `status`, `snapshot`, `expire`.

Whom that must be kept from: `docs/architecture.md`, Trust. Arrow's server lets gRPC receive messages of any
length, and its hook to change that is none of pyarrow's options; middleware sees only headers.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson
import pyarrow as pa
from pyarrow import flight

from ps import wire
from ps.cold_rows import DiskError
from ps.metrics import ShardMetrics
from ps.push import PushRefused
from ps.shard import Shard, ShardBrokenError

EMPTY_SCHEMA: Final = pa.schema([])
_log: Final = logging.getLogger(__name__)


class ShardService(flight.FlightServerBase):  # type: ignore[misc]
    """Answers as soon as it is made, each stream in a thread of its own."""

    def __init__(
        self,
        location: str,
        shard: Shard,
        epoch: int,
        metrics: ShardMetrics,
        actions: Mapping[str, Callable[..., dict[str, Any]]],
        on_broken: Callable[[], None],
    ) -> None:
        self._shard = shard
        self._epoch = epoch
        self._metrics = metrics
        self._actions = actions
        self._on_broken = on_broken
        super().__init__(location)

    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Answer the client's frames in order until it goes away."""
        writer.begin(EMPTY_SCHEMA)
        for frame in _frames(reader):
            writer.write_metadata(pa.py_buffer(self.answer(frame)))

    def answer(self, frame: object) -> wire.Bytes:
        """The frame that answers `frame`, whatever that holds."""
        try:
            return self._answer(*wire.decode(frame))
        except PushRefused as error:
            self._metrics.refused.inc()
            return _error("refused", error)
        except ValueError as error:
            self._metrics.malformed.inc()
            return _error("malformed", error)
        except (ShardBrokenError, DiskError) as error:
            _log.critical("%s", error)
            self._on_broken()
            return _error("broken", error)

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[flight.Result]:
        """Answer an action with one JSON object; its body, if there is one, is an object of options."""
        if action.type == "hello":
            answer = self._hello(action.body.to_pybytes())
        elif action.type in self._actions:
            answer = self._act(action.type, action.body.to_pybytes())
        else:
            raise flight.FlightServerError(f"there is no action {action.type!r}")
        return iter([flight.Result(pa.py_buffer(orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS)))])

    def _act(self, name: str, body: bytes) -> dict[str, Any]:
        try:
            return self._actions[name](**(orjson.loads(body) if body else {}))
        except (TypeError, ValueError) as error:
            raise flight.FlightServerError(f"{name}: {error}") from None

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        """What `do_action` answers."""
        return [(name, "JSON") for name in ("hello", *self._actions)]

    def _hello(self, body: bytes) -> dict[str, Any]:
        """Refuse a client that means another shard: its ids would go astray."""
        mine = {
            "version": wire.PROTOCOL_VERSION,
            "index": self._shard.index,
            "shards": self._shard.shards,
        }
        try:
            theirs = orjson.loads(body)
        except orjson.JSONDecodeError:
            theirs = None
        if theirs != mine:
            raise flight.FlightServerError(f"this is shard {mine}, not {theirs}: check ps.addresses")
        return {"epoch": self._epoch}

    def _answer(self, header: wire.Header, body: wire.Body) -> wire.Bytes:
        match header:
            case wire.PullHeader():
                with self._metrics.timed_lookup():
                    return self._pull(header, body)
            case wire.PushHeader():
                with self._metrics.push.time():
                    return self._push(header, body)
            case wire.InitializeHeader():
                self._shard.initialize_dense(wire.read_tensors(header.dense, body))
                return wire.encode(wire.DoneHeader())
            case _:
                raise wire.WireError("only a client's frames are answered: pull, push, initialize")

    def _pull(self, header: wire.PullHeader, body: wire.Body) -> wire.Bytes:
        wanted = [(self._shard.table(name), body.int64s(n)) for name, n in header.tables]
        body.end()
        dense = self._shard.dense()
        rows_bytes = sum(4 * len(ids) * table.dim for table, ids in wanted)
        answer = wire.RowsHeader.model_construct(
            tables=[
                (name, n, table.dim) for (name, n), (table, _) in zip(header.tables, wanted, strict=True)
            ],
            dense=[(name, list(tensor.shape)) for name, tensor in dense.items()],
        )
        frame, out = wire.reserve(answer, rows_bytes + sum(tensor.nbytes for tensor in dense.values()))
        into = wire.Body(out)
        for table, ids in wanted:
            table.lookup(ids, into.float32s((len(ids), table.dim)))
        for tensor in dense.values():
            into.float32s(tensor.shape)[...] = tensor
        return frame

    def _push(self, header: wire.PushHeader, body: wire.Body) -> wire.Bytes:
        if header.epoch != self._epoch:
            return _error(
                "restarted",
                f"shard {self._shard.index} has restarted, perhaps from a snapshot: read the marks, rewind",
            )
        applied = self._shard.push(wire.read_push(header, body))
        (self._metrics.pushes if applied else self._metrics.repeated).inc()
        return wire.encode(wire.DoneHeader(repeated=not applied))


def _frames(reader: flight.MetadataRecordBatchReader) -> Iterator[Any]:
    """What a client sends until it ends the stream, or is gone."""
    while True:
        try:
            chunk = reader.read_chunk()
        except (StopIteration, flight.FlightError, pa.ArrowException):
            return
        yield chunk.app_metadata if chunk.app_metadata is not None else b""


def _error(kind: Any, message: object) -> wire.Bytes:
    return wire.encode(wire.ErrorHeader(kind=kind, message=str(message)))
