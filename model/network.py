"""DeepFM (Guo et al., 2017, arXiv 1703.04247) over rows that are looked up outside.

With w_s and v_s the linear weight and the embedding of slot s (a row is [w, v]), x the numbers of an example:

    logit = b + a · x + Σ w_s + Σ_{s<t} <v_s, v_t> + MLP([v_1, …, v_S, x])

Several labels share rows; each has its own b, a, its own output of the MLP, and a factor for the rest.
Of a label of kind `number` it is no logit, but the number itself. Numbers that are features enter as
sign(x) · log(1 + |x|), which leaves small ones as they are and keeps large ones sane.

The loss is summed over a batch, not averaged: a row's gradient then does not depend on how many other
examples were learnt with it. State is nowhere here: dense tensors come with every call and go as gradients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import tensorflow as tf

from model.features import Column
from model.lookup import Layout, Lookup
from model.losses import Targets, losses, predictions
from model.parse import Examples
from model.settings import ModelSettings
from pipelines.schema import ExampleSchema
from ps.arrays import Float32, Int64
from ps.settings import TableSettings

_FLOATS: Final = tf.float32


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one batch yields."""

    predictions: dict[str, Float32]
    """By label: `float32[n]`, as `Network.predict` gives them, from before the step."""
    tables: dict[str, tuple[Int64, Float32]]
    """By table: distinct ids, and the summed gradients of their rows."""
    dense: dict[str, Float32]
    """Gradients of the dense tensors."""


class Network:
    """The model of one job: a pure function of rows, dense tensors and examples."""

    def __init__(
        self, schema: ExampleSchema, settings: ModelSettings, tables: Mapping[str, TableSettings], seed: int
    ) -> None:
        """`tables`: those of `features.table_settings`. Raises ValueError when the schema makes no model."""
        self._labels = list(schema.labels)
        self._is_number = tf.constant([label.kind == "number" for label in schema.labels.values()])
        self._settings = settings
        self._layout = Layout(schema, tables)
        self._initial = self._initial_dense(seed)
        self._names = list(self._initial)
        self._predict, self._learn = self._trace()

    def initial_dense(self) -> dict[str, Float32]:
        """The dense tensors before the first step: a function of the settings and the seed."""
        return dict(self._initial)

    def lookup(self, columns: Mapping[str, Column], examples: int) -> Lookup:
        """Which ids a batch needs by table, and the batch's layout."""
        return self._layout.plan(columns, examples)

    def tensors(self, dense: Mapping[str, Float32]) -> list[tf.Tensor]:
        """`dense` as `predict` takes it: worth keeping while the same is used again."""
        return [tf.constant(dense[name], _FLOATS) for name in self._names]

    def predict(
        self, lookup: Lookup, rows: Mapping[str, Float32], dense: list[tf.Tensor]
    ) -> dict[str, Float32]:
        """By label `float32[n]`: probabilities, or numbers, for unsampled traffic.

        `rows` by table `float32[ids, dim]`, in the ids' order.
        """
        found = self._predict(*self._batch(lookup, rows), *dense).numpy()
        return dict(zip(self._labels, found.T, strict=True))

    def learn(
        self,
        lookup: Lookup,
        rows: Mapping[str, Float32],
        dense: Mapping[str, Float32],
        examples: Examples,
        step: int,
    ) -> Learnt:
        """Predict, and the gradients of the loss. `step` seeds dropout: a repeat is the same step."""
        found, of_rows, of_dense = self._learn(
            *self._batch(lookup, rows),
            *(getattr(examples, name) for name in Targets._fields),
            np.int64(step),
            *self.tensors(dense),
        )
        return Learnt(
            dict(zip(self._labels, found.numpy().T, strict=True)),
            self._layout.unstack(lookup, of_rows.numpy()),
            {name: gradient.numpy() for name, gradient in zip(self._names, of_dense, strict=True)},
        )

    def _batch(self, lookup: Lookup, rows: Mapping[str, Float32]) -> tuple[Any, ...]:
        return self._layout.stack(lookup, rows), lookup.flat, lookup.segments, lookup.numeric

    def _initial_dense(self, seed: int) -> dict[str, Float32]:
        labels, numbers = len(self._labels), self._layout.encoder.numbers
        dense = {"bias": np.zeros(labels, np.float32)}
        if labels > 1:
            dense["factor"] = np.ones(labels, np.float32)
        if numbers:
            dense["numeric"] = np.zeros((numbers, labels), np.float32)
        hidden = self._settings.hidden
        sizes = [len(self._layout.slots) * (self._layout.width - 1) + numbers, *hidden, labels]
        for i, (inputs, outputs) in enumerate(pairwise(sizes) if hidden else ()):
            dense[f"layer_{i}/kernel"] = _glorot(np.random.default_rng([seed, i]), inputs, outputs)
            # The output's bias is `bias`.
            if i < len(hidden):
                dense[f"layer_{i}/bias"] = np.zeros(outputs, np.float32)
        return dense

    def _trace(self) -> tuple[Any, Any]:
        """Both entry points as graphs. Their signatures are fixed, so they are traced once."""
        batch = [
            tf.TensorSpec([None, self._layout.width], _FLOATS),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, self._layout.encoder.numbers], _FLOATS),
        ]
        per_label = tf.TensorSpec([None, len(self._labels)], _FLOATS)
        targets = [per_label] * 4 + [tf.TensorSpec([None], _FLOATS)]
        dense = [tf.TensorSpec(tensor.shape, _FLOATS) for tensor in self._initial.values()]
        predict = tf.function(self._predictions, input_signature=[*batch, *dense], autograph=False)
        signature = [*batch, *targets, tf.TensorSpec([], tf.int64), *dense]
        learn = tf.function(self._step, input_signature=signature, autograph=False)
        return predict.get_concrete_function(), learn.get_concrete_function()

    def _predictions(self, *inputs: tf.Tensor) -> tf.Tensor:
        logits, _ = self._logits(inputs[:4], inputs[4:], None)
        return predictions(logits, self._is_number)

    def _step(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        batch, targets, (step, *dense) = inputs[:4], Targets(*inputs[4:9]), inputs[9:]
        with tf.GradientTape() as tape:
            tape.watch([batch[0], *dense])
            logits, slots = self._logits(batch, dense, step)
            loss = tf.reduce_sum(losses(logits, targets, self._is_number))
            if self._settings.l2:
                loss += self._settings.l2 * tf.nn.l2_loss(slots)
        of_rows, *of_dense = tape.gradient(loss, [batch[0], *dense], unconnected_gradients="zero")
        return predictions(logits, self._is_number), tf.convert_to_tensor(of_rows), of_dense

    def _logits(
        self, batch: tuple[tf.Tensor, ...], dense: Any, step: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits `[n, labels]`, and the looked-up rows `[slots, n, width]`. `step` None: no dropout."""
        rows, flat, segments, numeric = batch
        tensors = dict(zip(self._names, dense, strict=True))
        shape = (len(self._layout.slots), tf.shape(numeric)[0], self._layout.width)
        means = tf.sparse.segment_mean(rows, flat, segments, num_segments=shape[0] * shape[1])
        slots = tf.reshape(means, shape)
        embeddings = slots[:, :, 1:]
        numeric = tf.sign(numeric) * tf.math.log1p(tf.abs(numeric))
        shared = tf.reduce_sum(slots[:, :, 0], axis=0) + _interactions(embeddings)
        logits = tensors["bias"] + tensors.get("factor", 1.0) * shared[:, tf.newaxis]
        if "numeric" in tensors:
            logits += numeric @ tensors["numeric"]
        if self._settings.hidden:
            logits += self._mlp(embeddings, numeric, tensors, step)
        return logits, slots

    def _mlp(
        self, embeddings: tf.Tensor, numeric: tf.Tensor, tensors: Mapping[str, tf.Tensor], step: Any
    ) -> tf.Tensor:
        """`float32[n, labels]` from embeddings `[slots, n, width - 1]` and numbers `[n, numbers]`."""
        inputs = embeddings.shape[0] * embeddings.shape[2]
        x = tf.reshape(tf.transpose(embeddings, (1, 0, 2)), (-1, inputs))
        x = tf.concat([x, numeric], axis=1)
        for i in range(len(self._settings.hidden)):
            x = tf.nn.relu(x @ tensors[f"layer_{i}/kernel"] + tensors[f"layer_{i}/bias"])
            if step is not None and self._settings.dropout:
                seed = tf.stack([step, tf.constant(i, tf.int64)])
                x = tf.nn.experimental.stateless_dropout(x, self._settings.dropout, seed)
        return x @ tensors[f"layer_{len(self._settings.hidden)}/kernel"]


def _interactions(embeddings: tf.Tensor) -> tf.Tensor:
    """Σ_{s<t} <v_s, v_t> of `[slots, n, dim]`: `[n]`."""
    square_of_sum = tf.square(tf.reduce_sum(embeddings, axis=0))
    sum_of_squares = tf.reduce_sum(tf.square(embeddings), axis=0)
    return 0.5 * tf.reduce_sum(square_of_sum - sum_of_squares, axis=1)


def _glorot(rng: np.random.Generator, inputs: int, outputs: int) -> Float32:
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)
