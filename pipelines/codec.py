"""Examples as bytes: the value of a message of the topic `examples` (`docs/formats.md`, `example.proto`).

The contract with whoever trains: `tf.io.parse_example` reads each example; here nothing needs TensorFlow.
Encoding is deterministic, features in order of name. It is written out below, because filling a protobuf map
from Python costs four times as much as the rest of the join; decoding is protobuf's own, and the tests hold
one against the other.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from google.protobuf.message import DecodeError

from pipelines.example_pb2 import Example as ExampleMessage
from pipelines.example_pb2 import ExampleList as ExampleListMessage
from pipelines.example_pb2 import Feature
from pipelines.records import Example, Scalar, Value
from pipelines.schema import RESERVED_NAMES, RESERVED_PREFIXES

# Tags of fields with a length: number << 3 | 2.
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = _FIELD_1, _FIELD_2, _FIELD_3
_SAMPLED_AWAY: Final = b"\x10"
_UNLABELLED: Final = b"\x18"
_NUMBERS_BYTES: Final = 12
"""Both at most: a tag and 32 bits each."""

MESSAGE_BYTES: Final = 1 << 20
"""How long a message may get: what every broker takes, and what a trainer can take in at once."""
GROWTH: Final = 5
"""An example is at most so many times as long as the JSON it repeats (`-1,` takes eleven bytes), for each
feature that reads a key; names of features and labels come on top."""


@dataclass(frozen=True, slots=True)
class ExampleList:
    """What became ready together of one request, and how many of its items never left, and why."""

    examples: tuple[Example, ...]
    sampled_away: int = 0
    """Not sampled."""
    unlabelled: int = 0
    """None of their labels came to a value."""


def encode(
    examples: Iterable[Example],
    sampled_away: int = 0,
    unlabelled: int = 0,
    limit_bytes: int = MESSAGE_BYTES,
) -> Iterator[bytes]:
    """The values of the messages that carry `examples`, in order; both numbers stand in the last.

    As few as it takes for each to keep within `limit_bytes`; an example that is longer has one to itself.
    """
    fields: list[bytes] = []
    room_bytes = limit_bytes - _NUMBERS_BYTES
    for example in examples:
        field = _field(_FIELD_1, encode_example(example))
        if fields and len(field) > room_bytes:
            yield b"".join(fields)
            fields, room_bytes = [], limit_bytes - _NUMBERS_BYTES
        fields.append(field)
        room_bytes -= len(field)
    yield b"".join(fields) + _number(_SAMPLED_AWAY, sampled_away) + _number(_UNLABELLED, unlabelled)


def decode(data: bytes) -> ExampleList:
    """The reverse of `encode`, but every feature comes back as a list. Raises ValueError when it is none."""
    try:
        message = ExampleListMessage.FromString(data)
        examples = tuple(map(decode_example, message.examples))
        return ExampleList(examples, message.sampled_away, message.unlabelled)
    except (DecodeError, LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"not a list of examples: {error!r}") from None


def encode_example(example: Example) -> bytes:
    """A serialized `tf.train.Example`."""
    entries = {name: _entry(name, _feature(value)) for name, value in example.features.items()}
    for name, number in example.labels.items():
        entries["label:" + name] = _constant("label:" + name, number)
    for name, number in example.masks.items():
        entries["mask:" + name] = _constant("mask:" + name, number)
    for name, number in example.scores.items():
        entries["score:" + name] = _entry("score:" + name, _floats([number]))
    for name, number in example.was.items():
        entries["was:" + name] = _constant("was:" + name, number)
    for name, number in example.otherwise.items():
        entries["otherwise:" + name] = _constant("otherwise:" + name, number)
    if example.pool_probability:
        entries["pool_probability"] = _constant("pool_probability", example.pool_probability)
        entries["pool_for"] = _entry("pool_for", _strings([example.pool_for]))
    entries["sampling_rate"] = _constant("sampling_rate", example.sampling_rate)
    entries["request_id"] = _entry("request_id", _strings([example.request_id]))
    entries["item_id"] = _entry("item_id", _strings([example.item_id]))
    entries["ts"] = _entry("ts", _integers([example.ts_ms]))
    entries["joined_ts"] = _entry("joined_ts", _integers([example.joined_ts_ms]))
    entries["action_ts"] = _entry("action_ts", _integers([example.action_ts_ms]))
    entries["action_logged_ts"] = _entry("action_logged_ts", _integers([example.action_logged_ts_ms]))
    return _field(_FIELD_1, b"".join([entries[name] for name in sorted(entries)]))


def decode_example(data: bytes) -> Example:
    """The reverse of `encode_example`. Raises DecodeError, LookupError or UnicodeDecodeError."""
    features = ExampleMessage.FromString(data).features.feature
    values = {name: _values(feature) for name, feature in features.items()}
    labels, masks, scores, was, otherwise = (_with_prefix(values, prefix) for prefix in RESERVED_PREFIXES)
    return Example(
        request_id=str(values["request_id"][0]),
        item_id=str(values["item_id"][0]),
        ts_ms=int(values["ts"][0]),
        joined_ts_ms=int(values["joined_ts"][0]),
        action_ts_ms=int(values["action_ts"][0]),
        action_logged_ts_ms=int(values["action_logged_ts"][0]),
        sampling_rate=float(values["sampling_rate"][0]),
        features={name: value for name, value in values.items() if not _is_ours(name)},
        labels=labels,
        masks=masks,
        scores=scores,
        was=was,
        otherwise=otherwise,
        pool_probability=float(values.get("pool_probability", (0.0,))[0]),
        pool_for=str(values.get("pool_for", ("",))[0]),
    )


def _feature(value: Value) -> bytes:
    values = value if isinstance(value, list) else [value]
    kind = type(values[0])
    if kind is int:
        return _integers(cast(list[int], values))
    if kind is float:
        return _floats(cast(list[float], values))
    return _strings(cast(list[str], values))


def _integers(values: list[int]) -> bytes:
    packed = b"".join([_varint(value & 0xFFFF_FFFF_FFFF_FFFF) for value in values])
    return _field(_INT64_LIST, _field(_FIELD_1, packed))


def _floats(values: list[float]) -> bytes:
    return _field(_FLOAT_LIST, _field(_FIELD_1, struct.pack(f"<{len(values)}f", *values)))


def _strings(values: list[str]) -> bytes:
    return _field(_BYTES_LIST, b"".join([_field(_FIELD_1, value.encode()) for value in values]))


@lru_cache(maxsize=1024)
def _constant(name: str, value: float) -> bytes:
    return _entry(name, _floats([value]))


@lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    return _field(_FIELD_1, name.encode()) + _FIELD_2


def _entry(name: str, feature: bytes) -> bytes:
    return _field(_FIELD_1, _name(name) + _varint(len(feature)) + feature)


def _field(tag: bytes, payload: bytes) -> bytes:
    length = len(payload)
    return tag + (_SMALL[length] if length < 0x80 else _varint(length)) + payload


def _number(tag: bytes, number: int) -> bytes:
    return tag + _varint(number) if number else b""


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SMALL[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = tuple(bytes((number,)) for number in range(0x80))


def _values(feature: Feature) -> list[Scalar]:
    if feature.HasField("int64_list"):
        return list(feature.int64_list.value)
    if feature.HasField("float_list"):
        return list(feature.float_list.value)
    return [value.decode() for value in feature.bytes_list.value]


def _with_prefix(values: Mapping[str, list[Scalar]], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): float(value[0])
        for name, value in values.items()
        if name.startswith(prefix)
    }


def _is_ours(name: str) -> bool:
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES)
