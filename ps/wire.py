"""Frames of the stream between a trainer and a shard (`docs/formats.md`).

A frame is the `app_metadata` of one Flight message: the header's length (uint32, little endian), the header
(JSON), zeros up to a multiple of 8, then the body: arrays one after the other, int64 before float32. The
header says which. Decoders raise WireError for anything that does not fit; arrays are views of the frame.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ps.arrays import Float32, Int64
from ps.push import Push, Span

PROTOCOL_VERSION: Final = 1
MAX_FRAME_BYTES: Final = 256 << 20
MAX_HEADER_BYTES: Final = 4 << 20
MAX_BODY_BYTES: Final = MAX_FRAME_BYTES - MAX_HEADER_BYTES
"""Of what is sent: then a frame fits whatever its header takes."""
MAX_TABLES: Final = 4096

Bytes = npt.NDArray[np.uint8]
Count = Annotated[int, Field(ge=0, le=MAX_FRAME_BYTES // 4)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Shape = Annotated[list[Count], Field(max_length=8)]
Signed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Position = Annotated[int, Field(ge=0, lt=1 << 63)]
Partition = Annotated[int, Field(ge=0, lt=1 << 31)]
Dense = Annotated[list[tuple[Name, Shape]], Field(max_length=MAX_TABLES)]


class WireError(ValueError):
    """A frame that is not what the protocol allows."""


class Header(BaseModel):
    """What a frame is, and how its body is cut into arrays."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PullHeader(Header):
    """Asks for rows, and all dense tensors. `tables`: name, ids. Body: ids."""

    op: Literal["pull"] = "pull"
    tables: Annotated[list[tuple[Name, Count]], Field(max_length=MAX_TABLES)]


class PushHeader(Header):
    """A push to the shard's life `epoch`. `tables`: name, ids, dim. Body: ids, gradients, dense gradients."""

    op: Literal["push"] = "push"
    epoch: Signed
    spans: Annotated[list[tuple[Partition, Position, Position]], Field(max_length=MAX_TABLES)]
    tables: Annotated[list[tuple[Name, Count, Count]], Field(max_length=MAX_TABLES)]
    dense: Dense
    event_ts_ms: Signed
    samples: Annotated[list[tuple[Partition, Position, Signed]], Field(max_length=1 << 16)]


class InitializeHeader(Header):
    """Initial values of dense tensors. Body: the tensors."""

    op: Literal["initialize"] = "initialize"
    dense: Dense


class RowsHeader(Header):
    """Answers a pull. `tables`: name, rows, dim, in the pull's order. Body: all rows, all dense tensors."""

    op: Literal["rows"] = "rows"
    tables: list[tuple[str, int, int]]
    dense: list[tuple[str, list[int]]]


class DoneHeader(Header):
    """Answers a push or initial values. `repeated`: the push had been applied before."""

    op: Literal["done"] = "done"
    repeated: bool = False


class ErrorHeader(Header):
    """Answers what the shard will not do. Nothing has changed, but for `broken`: the shard ends itself."""

    op: Literal["error"] = "error"
    kind: Literal["malformed", "refused", "restarted", "broken"]
    message: str


_HEADER: Final = TypeAdapter[Any](
    Annotated[
        PullHeader | PushHeader | InitializeHeader | RowsHeader | DoneHeader | ErrorHeader,
        Field(discriminator="op"),
    ]
)


def reserve(header: Header, body_bytes: int) -> tuple[Bytes, Bytes]:
    """A new frame with `header`, and its body to be filled in; raises WireError when it would be too long."""
    text = header.model_dump_json().encode()
    start = _body_start(len(text))
    if start > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise WireError(
            f"an answer or request of {body_bytes} bytes and {start} before them; {MAX_BODY_BYTES} and "
            f"{MAX_HEADER_BYTES} are allowed"
        )
    frame = np.empty(start + body_bytes, np.uint8)
    frame[:4] = np.frombuffer(len(text).to_bytes(4, "little"), np.uint8)
    frame[4 : 4 + len(text)] = np.frombuffer(text, np.uint8)
    frame[4 + len(text) : start] = 0
    return frame, frame[start:]


def encode(header: Header, arrays: Sequence[Int64 | Float32] = ()) -> Bytes:
    """A frame of `header` and `arrays`."""
    frame, body = reserve(header, sum(a.nbytes for a in arrays))
    start = 0
    for array in arrays:
        body[start : start + array.nbytes].view(array.dtype)[:] = array.ravel()
        start += array.nbytes
    return frame


def encode_push(push: Push, epoch: int) -> Bytes:
    """The frame of `push` to a shard's life `epoch`."""
    header = PushHeader.model_construct(
        epoch=epoch,
        spans=list(push.spans),
        tables=[(name, *gradients.shape) for name, (_, gradients) in push.tables.items()],
        dense=_shapes(push.dense),
        event_ts_ms=push.event_ts_ms,
        samples=list(push.samples),
    )
    ids = [ids for ids, _ in push.tables.values()]
    return encode(header, [*ids, *(g for _, g in push.tables.values()), *push.dense.values()])


def encode_initialize(tensors: Mapping[str, Float32]) -> Bytes:
    """The frame of initial values."""
    return encode(InitializeHeader.model_construct(dense=_shapes(tensors)), list(tensors.values()))


def decode(frame: object) -> tuple[Header, "Body"]:
    """The header of `frame` (anything with a buffer) and its body, to be read by the header's kind."""
    data = np.frombuffer(frame, np.uint8)  # type: ignore[call-overload]
    if not 4 <= len(data) <= MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(data)} bytes; 4 to {MAX_FRAME_BYTES} are allowed")
    length = int.from_bytes(data[:4].tobytes(), "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 4):
        raise WireError(
            f"a header of {length} bytes in a frame of {len(data)}; {MAX_HEADER_BYTES} are allowed"
        )
    try:
        header: Header = _HEADER.validate_json(data[4 : 4 + length].tobytes())
    except ValidationError as error:
        raise WireError(f"the header is wrong: {_sentence(error)}") from None
    return header, Body(data[_body_start(length) :])


def read_push(header: PushHeader, body: "Body") -> Push:
    """The push; raises WireError when the body does not fit the header."""
    ids = [body.int64s(n) for _, n, _ in header.tables]
    gradients = [body.float32s((n, dim)) for _, n, dim in header.tables]
    tables = dict(zip((t[0] for t in header.tables), zip(ids, gradients, strict=True), strict=True))
    if len(tables) < len(header.tables):
        raise WireError("a push names a table twice")
    return Push(
        spans=tuple(Span(*span) for span in header.spans),
        tables=tables,
        dense=read_tensors(header.dense, body),
        event_ts_ms=header.event_ts_ms,
        samples=header.samples,
    )


def read_tensors(shapes: Sequence[tuple[str, list[int]]], body: "Body") -> dict[str, Float32]:
    """The named tensors that end the body."""
    tensors = {name: body.float32s(tuple(shape)) for name, shape in shapes}
    body.end()
    if len(tensors) < len(shapes):
        raise WireError("a frame names a dense tensor twice")
    return tensors


class Body:
    """Cuts a body into arrays, one after the other."""

    def __init__(self, data: Bytes) -> None:
        self._rest = data if data.ctypes.data % 8 == 0 else data.copy()

    def int64s(self, n: int) -> Int64:
        """The next `int64[n]`."""
        return self._take(n * 8).view(np.int64)

    def float32s(self, shape: tuple[int, ...]) -> Float32:
        """The next float32 array of this shape."""
        return self._take(prod(shape) * 4).view(np.float32).reshape(shape)

    def end(self) -> None:
        """Raise WireError unless the body was read to its end."""
        if len(self._rest):
            raise WireError(f"{len(self._rest)} bytes more than the header announces")

    def _take(self, size: int) -> Bytes:
        if size > len(self._rest):
            raise WireError(f"{size - len(self._rest)} bytes fewer than the header announces")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _body_start(header_bytes: int) -> int:
    return (4 + header_bytes + 7) & ~7


def _shapes(tensors: Mapping[str, Float32]) -> list[tuple[str, list[int]]]:
    return [(name, list(tensor.shape)) for name, tensor in tensors.items()]


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
