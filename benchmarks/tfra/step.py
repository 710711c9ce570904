"""A training step of TensorFlow Recommenders Addons, round by round. Runs in an environment of its own.

A line on standard input asks for a round; the answer is millions of ids a second. See `benchmarks/table.py`.
"""

import os
import sys
import time

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import numpy as np
import tensorflow as tf
import tensorflow_recommenders_addons.dynamic_embedding as de


def main(rows: int, dim: int, batch: int, batches: int) -> None:
    shadow = de.shadow_ops.ShadowVariable(
        de.get_variable("rows", tf.int64, tf.float32, dim=dim, init_size=rows, initializer=0.05)
    )
    optimizer = de.DynamicEmbeddingOptimizer(
        tf.keras.optimizers.legacy.Adagrad(0.05, initial_accumulator_value=0.1)
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(ids: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            looked_up = de.shadow_ops.embedding_lookup(shadow, ids)
            loss = 0.5 * tf.reduce_sum(looked_up * looked_up)
        optimizer.apply_gradients([(tape.gradient(loss, shadow), shadow)])

    for start in range(0, rows, batch):
        step(tf.range(start, min(rows, start + batch), dtype=tf.int64))
    print("ready", flush=True)
    rng = np.random.default_rng(1)
    for _ in sys.stdin:
        drawn = [tf.constant(rng.integers(0, rows, batch)) for _ in range(2 * batches)]
        for ids in drawn[:batches]:
            step(ids)
        start_s = time.perf_counter()
        for ids in drawn[batches:]:
            step(ids)
        print(batches * batch / (time.perf_counter() - start_s) / 1e6, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
