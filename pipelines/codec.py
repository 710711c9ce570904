"""Examples as bytes: the value of a message of the topic `examples` (`docs/formats.md`, `example.proto`).

The contract with whoever trains: `tf.io.parse_example` reads each example, here nothing needs TensorFlow.
Encoding is deterministic: the same examples give the same bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from google.protobuf.message import DecodeError

from pipelines.example_pb2 import Example as ExampleMessage
from pipelines.example_pb2 import ExampleList as ExampleListMessage
from pipelines.example_pb2 import Feature
from pipelines.records import Example, Scalar, Value
from pipelines.schema import RESERVED_NAMES

_PREFIXES: Final = ("label:", "mask:", "score:")


@dataclass(frozen=True, slots=True)
class ExampleList:
    """What became ready together of one request, and how many of its items were not sampled."""

    examples: tuple[Example, ...]
    sampled_away: int = 0


def encode(examples: Iterable[Example], sampled_away: int = 0) -> bytes:
    """The value of one message."""
    message = ExampleListMessage(examples=map(encode_example, examples), sampled_away=sampled_away)
    return message.SerializeToString(deterministic=True)


def decode(data: bytes) -> ExampleList:
    """The reverse of `encode`, but every feature comes back as a list. Raises ValueError when it is none."""
    try:
        message = ExampleListMessage.FromString(data)
        return ExampleList(tuple(map(decode_example, message.examples)), message.sampled_away)
    except (DecodeError, LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"not a list of examples: {error!r}") from None


def encode_example(example: Example) -> bytes:
    """A serialized `tf.train.Example`."""
    message = ExampleMessage()
    features = message.features.feature
    for name, value in example.features.items():
        _put(features[name], value)
    for prefix, values in zip(_PREFIXES, (example.labels, example.masks, example.scores), strict=True):
        for name, number in values.items():
            features[prefix + name].float_list.value.append(number)
    features["sampling_rate"].float_list.value.append(example.sampling_rate)
    features["request_id"].bytes_list.value.append(example.request_id.encode())
    features["item_id"].bytes_list.value.append(example.item_id.encode())
    features["ts"].int64_list.value.append(example.ts_ms)
    features["joined_ts"].int64_list.value.append(example.joined_ts_ms)
    features["action_ts"].int64_list.value.append(example.action_ts_ms)
    features["action_logged_ts"].int64_list.value.append(example.action_logged_ts_ms)
    return message.SerializeToString(deterministic=True)


def decode_example(data: bytes) -> Example:
    """The reverse of `encode_example`. Raises DecodeError, LookupError or UnicodeDecodeError."""
    features = ExampleMessage.FromString(data).features.feature
    values = {name: _values(feature) for name, feature in features.items()}
    labels, masks, scores = (_with_prefix(values, prefix) for prefix in _PREFIXES)
    raw = {name: value for name, value in values.items() if not _is_ours(name)}
    return Example(
        request_id=str(values["request_id"][0]),
        item_id=str(values["item_id"][0]),
        ts_ms=int(values["ts"][0]),
        joined_ts_ms=int(values["joined_ts"][0]),
        action_ts_ms=int(values["action_ts"][0]),
        action_logged_ts_ms=int(values["action_logged_ts"][0]),
        sampling_rate=float(values["sampling_rate"][0]),
        features=raw,
        labels=labels,
        masks=masks,
        scores=scores,
    )


def _put(feature: Feature, value: Value) -> None:
    values = value if isinstance(value, list) else [value]
    kind = type(values[0])
    if kind is int:
        feature.int64_list.value.extend(cast(list[int], values))
    elif kind is float:
        feature.float_list.value.extend(cast(list[float], values))
    else:
        feature.bytes_list.value.extend([each.encode() for each in cast(list[str], values)])


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
    return name in RESERVED_NAMES or name.startswith(_PREFIXES)
