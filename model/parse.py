"""Serialized examples to columns, in bulk, by `tf.io.parse_example`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.message import DecodeError

from model.features import MISSING, Column, Lists, fingerprint, repeat
from model.settings import MAX_LABEL
from pipelines.example_pb2 import Example as ExampleMessage
from pipelines.expansion import MAX_CROSS_VALUES, MAX_LIST_VALUES, cross_sizes
from pipelines.schema import ExampleSchema, FeatureSettings
from ps.arrays import Float32, Int64

MAX_SCORES: Final = 16
"""Names of scores that are compared; each new one costs a trace of the parser."""
_TIMES: Final = ("ts", "joined_ts", "action_ts", "action_logged_ts")
_ITEM_ID: Final = "item_id"
"""Every example has it as text; a feature of this name reads that."""
_PER_LABEL: Final = {"label": 0.0, "mask": 0.0, "was": np.nan, "otherwise": 0.0}
"""Features that an example has for each label, and what they are when they are absent."""
_DTYPES: Final = {"int": tf.int64, "float": tf.float32, "string": tf.string}
_ABSENT: Final = {"int": MISSING, "float": np.nan, "string": b""}
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Examples:
    """n examples, column by column; times are milliseconds since 1970."""

    columns: dict[str, Column]
    labels: Float32
    """[n, labels], in the order of the schema; counts where the mask is 1."""
    masks: Float32
    """[n, labels]."""
    was: Float32
    """[n, labels]: what an earlier example taught and this one takes back; NaN: nothing."""
    otherwise: Float32
    """[n, labels]: 1 where no action is behind the label, which then stands for 1 / sampling rate of them."""
    sampling_rates: Float32
    """[n], in (0, 1]."""
    pool_probabilities: Float32
    """[n]: with which a draw from the recent items is this one; 0: an impression."""
    scores: dict[str, Float32]
    """By name (`LABEL` or `LABEL@NAME`): [n], NaN where there was none."""
    ts_ms: Int64
    joined_ts_ms: Int64
    action_ts_ms: Int64
    action_logged_ts_ms: Int64

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Examples":
        """Those where `chosen`, bool[n], is true."""
        counts = chosen.astype(np.int64)
        columns = {name: repeat(column, counts) for name, column in self.columns.items()}
        scores = {name: values[chosen] for name, values in self.scores.items()}
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("columns", "scores")}
        return Examples(columns, scores=scores, **{name: values[chosen] for name, values in others.items()})


class ExampleParser:
    """Parses examples of one schema. Not thread-safe."""

    def __init__(self, schema: ExampleSchema) -> None:
        self._schema = schema
        self._features = schema.features
        self._labels = list(schema.labels)
        self._is_number = np.array([label.kind == "number" for label in schema.labels.values()])
        self._scores: list[str] = []
        self._parse = self._trace()
        self.malformed = 0
        """Examples that made no sense."""

    def parse(self, serialized: Sequence[bytes]) -> Examples:
        """All of `serialized`. One that makes no sense is counted, logged, and teaches nothing: masks 0."""
        serialized = list(serialized)
        try:
            examples = self._parse_all(serialized)
        except ValueError:
            examples = self._parse_all([self._if_sound(example) for example in serialized])
        return self._sane(examples)

    def _parse_all(self, serialized: list[bytes]) -> Examples:
        """Raises ValueError when any of `serialized` makes no sense."""
        self._meet_scores(serialized)
        try:
            parsed: dict[str, Any] = self._parse(tf.constant(serialized, tf.string, [len(serialized)]))
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise ValueError(f"no example of this job's schema: {error.message}") from None
        examples = self._examples({name: _to_numpy(value) for name, value in parsed.items()})
        _check_sizes(self._schema, examples.columns)
        return examples

    def _if_sound(self, example: bytes) -> bytes:
        """`example`, or the empty one in its place: whatever it should have, it has none of it."""
        try:
            self._parse_all([example])
        except ValueError as error:
            self.malformed += 1
            _log.error("%s", error)
            return b""
        return example

    def _sane(self, examples: Examples) -> Examples:
        """Silence those with numbers that would poison the model."""
        sane = _is_sane(examples)
        if sane.all():
            return examples
        self.malformed += int((~sane).sum())
        _log.error("%d examples with a label, mask, rate or probability out of range", (~sane).sum())
        zero, rows = np.float32(0), sane[:, np.newaxis]
        return replace(
            examples,
            labels=np.where(rows, examples.labels, zero),
            masks=np.where(rows, examples.masks, zero),
            was=np.where(rows, examples.was, np.float32(np.nan)),
            otherwise=np.where(rows, examples.otherwise, zero),
            sampling_rates=np.where(sane, examples.sampling_rates, np.float32(1)),
            pool_probabilities=np.where(sane, examples.pool_probabilities, zero),
        )

    def _examples(self, parsed: dict[str, Any]) -> Examples:
        columns = {name: _column(name, feature, parsed[name]) for name, feature in self._features.items()}
        labels, masks, was, otherwise = (self._per_label(parsed, kind) for kind in _PER_LABEL)
        return Examples(
            columns,
            labels,
            masks,
            was,
            np.where(self._is_number, otherwise, labels <= 0).astype(np.float32),
            sampling_rates=parsed["sampling_rate"],
            pool_probabilities=parsed["pool_probability"],
            scores={name: parsed[f"score:{name}"] for name in self._scores},
            **{f"{name}_ms": parsed[name] for name in _TIMES},
        )

    def _per_label(self, parsed: dict[str, Any], kind: str) -> Float32:
        return np.stack([parsed[f"{kind}:{label}"] for label in self._labels], 1)

    def _meet_scores(self, serialized: Sequence[bytes]) -> None:
        """Learn the names of scores: which there are is the business of whoever asked for them."""
        if not serialized or len(self._scores) >= MAX_SCORES:
            return
        try:
            names = ExampleMessage.FromString(serialized[-1]).features.feature
        except DecodeError as error:
            raise ValueError(f"no example: {error}") from None
        scores = [name.removeprefix("score:") for name in names if name.startswith("score:")]
        new = sorted(set(scores) - set(self._scores))
        if new:
            self._scores = [*self._scores, *new][:MAX_SCORES]
            self._parse = self._trace()

    def _trace(self) -> Any:
        """The parser as one graph: eager, its many small operations cost more than the parsing."""
        spec = {name: _spec(name, feature) for name, feature in self._features.items()}
        for label in self._labels:
            spec |= {f"{kind}:{label}": _number(absent) for kind, absent in _PER_LABEL.items()}
        spec |= {f"score:{name}": _number(np.nan) for name in self._scores}
        spec |= {name: tf.io.FixedLenFeature([], tf.int64, 0) for name in _TIMES}
        spec |= {"sampling_rate": _number(1.0), "pool_probability": _number(0.0)}

        def parse(serialized: tf.Tensor) -> dict[str, Any]:
            parsed = tf.io.parse_example(serialized, spec)
            return {
                name: (value.values, value.row_lengths()) if isinstance(value, tf.RaggedTensor) else value
                for name, value in parsed.items()
            }

        return tf.function(parse, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def _is_sane(examples: Examples) -> npt.NDArray[np.bool_]:
    """bool[n]: whether all numbers of an example are what they can be."""
    rates, drawn = examples.sampling_rates, examples.pool_probabilities
    of_labels = np.isfinite(examples.masks) & (np.abs(examples.labels) <= MAX_LABEL)
    # Absent is NaN, which is beyond nothing.
    of_labels &= ~(np.abs(examples.was) > MAX_LABEL)
    sane: npt.NDArray[np.bool_] = of_labels.all(axis=1)
    return sane & (rates > 0) & (rates <= 1) & (drawn >= 0) & (drawn <= 1)


def _spec(name: str, feature: FeatureSettings) -> Any:
    if name == _ITEM_ID:
        return tf.io.FixedLenFeature([], tf.string, b"")
    if feature.many:
        return tf.io.RaggedFeature(_DTYPES[feature.type], row_splits_dtype=tf.int64)
    return tf.io.FixedLenFeature([], _DTYPES[feature.type], _ABSENT[feature.type])


def _number(default: float) -> Any:
    return tf.io.FixedLenFeature([], tf.float32, default)


def _to_numpy(value: Any) -> Any:
    if isinstance(value, tuple):
        return Lists(*(part.numpy() for part in value))
    return value.numpy()


def _column(name: str, feature: FeatureSettings, value: Any) -> Column:
    if name == _ITEM_ID and feature.type == "int":
        return _integers(value)
    if feature.type != "string":
        column: Column = value
        return column
    if isinstance(value, Lists):
        return Lists(_fingerprints(value.values), value.lengths)
    return _fingerprints(value)


def _integers(texts: npt.NDArray[Any]) -> Int64:
    try:
        return np.array([int(text) if text else MISSING for text in texts.tolist()], np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"`{_ITEM_ID}` of an example is no integer of 64 bits: {error}") from None


def _check_sizes(schema: ExampleSchema, columns: Mapping[str, Column]) -> None:
    """Raise ValueError for a list or a cross that no event of `features` may have."""
    # In floats, for which no product is too large.
    lengths = {name: np.maximum(c.lengths, 1.0) for name, c in columns.items() if isinstance(c, Lists)}
    for name, sizes in lengths.items():
        _check_size(f"list `{name}`", sizes, MAX_LIST_VALUES)
    for name, sizes in cross_sizes(schema, lengths).items():
        _check_size(f"cross `{name}`", sizes, MAX_CROSS_VALUES)


def _check_size(what: str, sizes: npt.NDArray[np.float64], limit: int) -> None:
    if sizes.max(initial=0) > limit:
        raise ValueError(f"{what} of an example has {sizes.max():.0f} values, {limit} are possible")


def _fingerprints(strings: npt.NDArray[Any]) -> Int64:
    return np.array([fingerprint(text) for text in strings.tolist()], np.int64)
