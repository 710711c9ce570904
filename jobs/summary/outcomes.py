"""Reads the `examples` topic into columns: what became of every impression, and what it had been scored.

Parsed with protobuf alone: a summary must not wait for TensorFlow to load.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Message

from model.quality import Floats
from pipelines.example_pb2 import Example, ExampleList

NAN = math.nan


@dataclass
class Outcomes:
    """One entry per example of an impression, in the order of the topic; the counters by request id."""

    request_ids: list[str] = field(default_factory=list)
    item_ids: list[str] = field(default_factory=list)
    ts_ms: list[int] = field(default_factory=list)
    joined_ms: list[int] = field(default_factory=list)
    sampling_rates: list[float] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)
    """`label:NAME`, `mask:…`, `was:…`, `otherwise:…`, `score:…`, `score:NAME@frozen`, `score:NAME@best`; NaN
    where absent."""
    sampled_away: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    pooled: int = 0
    """Negatives drawn from recent items: no impressions."""

    def __len__(self) -> int:
        return len(self.request_ids)

    def column(self, name: str) -> Floats:
        """A column as float64[n]."""
        return np.array(self.columns[name], np.float64)


def column_names(labels: Iterable[str]) -> list[str]:
    """The columns that are read for these labels."""
    kinds = ("label:{}", "mask:{}", "was:{}", "otherwise:{}", "score:{}", "score:{}@frozen", "score:{}@best")
    return [kind.format(label) for label in labels for kind in kinds]


def read_outcomes(messages: Iterable[Message], labels: Sequence[str]) -> Outcomes:
    """The examples in `messages` of the `examples` topic."""
    outcomes = Outcomes(columns={name: [] for name in column_names(labels)})
    for message in messages:
        batch = ExampleList.FromString(message.value())
        for example in batch.examples:
            _append(outcomes, example)
        if batch.sampled_away or batch.unlabelled:
            request_id = message.key().decode()
            outcomes.sampled_away[request_id] += batch.sampled_away
            outcomes.unlabelled[request_id] += batch.unlabelled
    return outcomes


def _append(outcomes: Outcomes, example: bytes) -> None:
    features = Example.FromString(example).features.feature
    if "pool_for" in features:
        outcomes.pooled += 1
        return
    outcomes.request_ids.append(features["request_id"].bytes_list.value[0].decode())
    outcomes.item_ids.append(features["item_id"].bytes_list.value[0].decode())
    outcomes.ts_ms.append(features["ts"].int64_list.value[0])
    outcomes.joined_ms.append(features["joined_ts"].int64_list.value[0])
    outcomes.sampling_rates.append(features["sampling_rate"].float_list.value[0])
    for name, values in outcomes.columns.items():
        # A protobuf map makes up what it is asked for, so ask first.
        values.append(features[name].float_list.value[0] if name in features else NAN)
