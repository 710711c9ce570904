"""The model as serving uses it: requests in, scores out, parameters given from outside."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import tensorflow as tf

from model.lookup import Lookup
from model.network import Network
from model.requests import columns
from model.settings import ModelSettings
from pipelines.schema import ExampleSchema
from ps.arrays import Float32, Int64
from ps.settings import TableSettings

_KEPT: Final = 4
"""Versions of dense tensors that are kept ready: the live one, the frozen one, and room for a change."""

Request = Mapping[str, Any]


class Scorer:
    """Scores requests. For one thread at a time."""

    def __init__(
        self, schema: ExampleSchema, settings: ModelSettings, tables: Mapping[str, TableSettings], seed: int
    ) -> None:
        """`tables`: those of `model.features.table_settings`."""
        self._schema = schema
        self._network = Network(schema, settings, tables, seed)
        self._planned: tuple[Sequence[Request], Lookup] | None = None
        self._ready: dict[int, tuple[Mapping[str, Float32], list[tf.Tensor]]] = {}

    def initial_dense(self) -> dict[str, Float32]:
        """The dense tensors of a model that has learnt nothing."""
        return self._network.initial_dense()

    def ids(self, requests: Sequence[Request]) -> Mapping[str, Int64]:
        """The distinct ids whose rows `score` needs, by table: `int64[n]`, ascending."""
        return self._plan(requests).ids

    def score(
        self, requests: Sequence[Request], rows: Mapping[str, Float32], dense: Mapping[str, Float32]
    ) -> Mapping[str, Float32]:
        """By label, probabilities or numbers: `float32[m]` over the items of all `requests`, in order.

        `rows`: of `ids`, in their order, by table. `dense` must not change once it was given.
        """
        return self._network.predict(self._plan(requests), rows, self._tensors(dense))

    def _plan(self, requests: Sequence[Request]) -> Lookup:
        """The same requests are planned once: `ids`, then `score` with live and with frozen parameters."""
        if self._planned is None or self._planned[0] is not requests:
            count = sum(len(request["items"]) for request in requests)
            self._planned = requests, self._network.lookup(columns(self._schema, requests), count)
        return self._planned[1]

    def _tensors(self, dense: Mapping[str, Float32]) -> list[tf.Tensor]:
        """Known by identity, which is safe as long as the mapping is kept beside its tensors."""
        if id(dense) not in self._ready:
            while len(self._ready) >= _KEPT:
                del self._ready[next(iter(self._ready))]
            self._ready[id(dense)] = dense, self._network.tensors(dense)
        return self._ready[id(dense)][1]
