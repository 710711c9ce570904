"""What waits under one request id, as bytes of our own, so that a savepoint outlives code, mode and library.

A request goes through at most three states: `Early` (actions came, the features did not), `Waiting` (the
features are here and a window is open) and `Closed` (a short memory, which tells a late or repeated event
from an orphan).

Bytes, version 1, little endian: u8 version, u8 kind, then

    E  per action until the end: i32 length of the key (-1: none), u32 length of the value,
       u32 partition, i64 offset, i64 logged at, key, value
    W  i64 request's time, i64 closed through, u32 length of the value, value,
       per positive until the end: u32 position of the item in the event, u32 label
    C  i64 request's time, per positive until the end: u32 label, u32 length of the item id, item id

A label is written as `label_id`: it keeps its meaning when others are added before it.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
_KIND: Final = struct.Struct("<BB")
_ACTION: Final = struct.Struct("<iIIqq")
_WAITING: Final = struct.Struct("<qqI")
_CLOSED: Final = struct.Struct("<q")
_PAIR: Final = struct.Struct("<II")
_EARLY_KIND, _WAITING_KIND, _CLOSED_KIND = b"EWC"


class StateError(ValueError):
    """Bytes that are no state of this version. That is a bug or a wrong savepoint: it fails the job."""


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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request with at least one open window; `value` is the event as it came.

    `closed_through_ms`: labels whose window ends by then are resolved.
    `positives`: (position of the item in the event, `label_id`) of what was resolved with 1.
    """

    ts_ms: int
    closed_through_ms: int
    value: bytes
    positives: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Closed:
    """A request whose last window has passed. `positives`: (item id, `label_id`) of what got 1."""

    ts_ms: int
    positives: frozenset[tuple[str, int]] = frozenset()


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
                *(_PAIR.pack(*positive) for positive in sorted(state.positives)),
            ]
        case Closed():
            parts = [_KIND.pack(VERSION, _CLOSED_KIND), _CLOSED.pack(state.ts_ms)]
            for item_id, label in sorted(state.positives):
                parts += [_PAIR.pack(label, len(item_id.encode())), item_id.encode()]
        case Early():
            parts = [_KIND.pack(VERSION, _EARLY_KIND), *map(_encode_action, state.actions)]
    return b"".join(parts)


def decode(data: bytes) -> State:
    """The reverse of `encode`. Raises StateError."""
    try:
        version, kind = _KIND.unpack_from(data)
        if version != VERSION:
            raise StateError(f"state of version {version}: this joiner reads version {VERSION}")
        return _DECODERS[kind](data, _KIND.size)
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise StateError(f"not a state: {error!r} in {bytes(data[:64])!r}") from None


def _encode_action(action: EarlyAction) -> bytes:
    key_bytes = -1 if action.key is None else len(action.key)
    header = _ACTION.pack(key_bytes, len(action.value), action.partition, action.offset, action.logged_ts_ms)
    return header + (action.key or b"") + action.value


def _decode_waiting(data: bytes, place: int) -> Waiting:
    ts_ms, closed_through_ms, value_bytes = _WAITING.unpack_from(data, place)
    start = place + _WAITING.size
    value = _slice(data, start, value_bytes)
    pairs = _PAIR.iter_unpack(data[start + value_bytes :])
    return Waiting(ts_ms, closed_through_ms, value, frozenset((item, label) for item, label in pairs))


def _decode_closed(data: bytes, place: int) -> Closed:
    (ts_ms,) = _CLOSED.unpack_from(data, place)
    return Closed(ts_ms, frozenset(_closed_positives(data, place + _CLOSED.size)))


def _closed_positives(data: bytes, place: int) -> Iterator[tuple[str, int]]:
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


_DECODERS: Final[dict[int, Callable[[bytes, int], State]]] = {
    _EARLY_KIND: _decode_early,
    _WAITING_KIND: _decode_waiting,
    _CLOSED_KIND: _decode_closed,
}
