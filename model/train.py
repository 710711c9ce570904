"""The trainer: examples in, gradients out.

A worker keeps no state. Rows and dense tensors come from the shards with every batch, and what has been
learnt is written in the shards' marks: whatever dies, reading goes on there, and every shard learns every
example once.
"""

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import tensorflow as tf
from confluent_kafka import KafkaException

from model.archive import Archive
from model.batches import Batch
from model.examples import ExampleSource
from model.metrics import Judgement, Progress
from model.network import Network
from model.parse import ExampleParser, Examples
from model.report import TrainerMetrics
from model.settings import ModelSettings, TrainerSettings
from pipelines.schema import ExampleSchema
from ps.client import Push, PushRefused, ShardError, Shards, Tolerance, TooLargeError
from ps.settings import TableSettings
from ps.signals import stop_on_signals

_RECONNECT_S: Final = 5.0
_RETRY_S: Final = 0.5
MOST_IN_A_ROW: Final = 100
"""Messages that a trainer passes over. If there are more, the model is the reason, and all would be lost."""
_MAX_SAMPLES: Final = 64
_REPLAYED_MS: Final = 3_600_000
"""Further apart, event time and Kafka's time of an action mean a replay: freshness counts from the latter."""
_log: Final = logging.getLogger(__name__)


def run_trainer(
    *,
    worker: int,
    schema: ExampleSchema,
    tables: Mapping[str, TableSettings],
    model: ModelSettings,
    trainer: TrainerSettings,
    seed: int,
    shard_addresses: Sequence[str],
    bootstrap: str,
    kafka_client: Mapping[str, str],
    examples_topic: str,
    metrics_address: str | None,
    group: str = "freshet-trainer",
) -> None:
    """Be worker `worker` of the consumer group `group` until SIGTERM or SIGINT.

    `tables`: those of `model.features.table_settings`. Prints one line of JSON when it reads: `ready`,
    `metrics` (URL or null). Raises SystemExit with a sentence when it can't go on.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = stop_on_signals()
    # Workers are the way to more cores: a second thread for steps this small gets in the way of other roles.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = Network(schema, model, tables, seed)
    judged = {name: Judgement.of(label) for name, label in schema.labels.items()}
    progress = Progress(judged, trainer.metrics_window)
    metrics = TrainerMetrics(progress)
    url = metrics.serve(metrics_address) if metrics_address else None
    tolerance = Tolerance.of(tables, model.optimizer)
    with Shards(shard_addresses, reconnect_s=_RECONNECT_S, tolerance=tolerance) as shards:
        work = Trainer(schema, network, shards, progress, metrics)
        source = ExampleSource(
            bootstrap=bootstrap,
            kafka_client=kafka_client,
            topic=examples_topic,
            group=group,
            worker=worker,
            marks=work.marks,
            archive=_archive(worker, trainer, examples_topic),
        )
        print(orjson.dumps({"ready": True, "metrics": url}).decode(), flush=True)
        try:
            _learn_until(stop, source, work, trainer)
        except (ValueError, KafkaException) as error:
            raise SystemExit(f"trainer {worker}: {error}") from error
        finally:
            source.close()


def _archive(worker: int, trainer: TrainerSettings, topic: str) -> Archive | None:
    try:
        return None if trainer.archive is None else Archive(trainer.archive, topic)
    except (ValueError, OSError) as error:
        raise SystemExit(f"trainer {worker}: trainer.archive: {trainer.archive}: {error}") from error


def _learn_until(
    stop: threading.Event, source: ExampleSource, work: "Trainer", settings: TrainerSettings
) -> None:
    """The loop. A shard that is away, or has gone back, is waited for; then reading starts at the marks."""
    while not stop.is_set():
        try:
            batch = source.poll(settings.batch_size, settings.max_wait_ms / 1000)
            if batch is not None:
                work.learn(batch)
            work.metrics.reads(source.backlog(), source.malformed + work.malformed)
        except PushRefused as refusal:
            _log.info("back to the marks: %s", refusal)
            work.metrics.rewinds.inc()
            source.rewind()
        except (ShardError, KafkaException, OSError) as error:
            if isinstance(error, KafkaException) and error.args[0].fatal():
                raise
            _log.warning("waiting: %s", error)
            source.rewind()
            stop.wait(_RETRY_S)


class Trainer:
    """Learns batches: parse, look up, predict and step, push."""

    def __init__(
        self,
        schema: ExampleSchema,
        network: Network,
        shards: Shards,
        progress: Progress,
        metrics: TrainerMetrics,
    ) -> None:
        self._parser = ExampleParser(schema)
        self._leaves_at_once = np.array([label.take == "first" for label in schema.labels.values()])
        self._network = network
        self._dense_names = network.initial_dense().keys()
        self._shards = shards
        self._progress = progress
        self._stepped_over = self._in_a_row = 0
        self.metrics = metrics

    def marks(self) -> list[dict[int, int]]:
        """The shards' marks; a shard that has lost its dense tensors gets new ones first."""
        self._shards.initialize_dense(self._network.initial_dense())
        return self._shards.marks()

    def learn(self, batch: Batch) -> None:
        """One step; what is too large for the shards is learnt in halves, or, a single message, passed over.

        Raises PushRefused when a shard is elsewhere, ShardError; then nothing is lost. ValueError when
        nothing can be learnt any more.
        """
        with self.metrics.step.time():
            self._learn(batch, self._parser.parse(batch.examples))

    def _learn(self, batch: Batch, examples: Examples) -> None:
        """`examples`: those of `batch`."""
        complaint = self._try(batch, examples)
        if complaint and len(batch.messages) > 1:
            first, rest = batch.halves()
            is_first = np.arange(len(examples)) < len(first.examples)
            self._learn(first, examples.only(is_first))
            self._learn(rest, examples.only(~is_first))
        elif complaint:
            (message,) = batch.messages
            self._in_a_row += 1
            if self._in_a_row > MOST_IN_A_ROW:
                raise ValueError(
                    f"{MOST_IN_A_ROW} messages in a row can't be learnt, so it is the model that has gone "
                    "wrong, not they; go on from an earlier snapshot with a lower learning rate. The last: "
                    + complaint
                )
            self._shards.push(Push(batch.spans))
            self._stepped_over += 1
            _log.error(
                "partition %d, offset %d can't be learnt: %s", message.partition, message.offset, complaint
            )

    def _try(self, batch: Batch, examples: Examples) -> str | None:
        """One step. What was too large, if it was: then no shard has been asked to learn anything."""
        # Draws from the pool, and what makes no sense: not even a row's last touch may come of them.
        teaching = examples.masks.any(axis=1)
        samples = freshness_samples(batch, examples, self._leaves_at_once)
        taught = examples if teaching.all() else examples.only(teaching)
        if len(taught):
            try:
                self._step(batch, taught, samples)
            except TooLargeError as error:
                # Words, for the error itself would hold on to the step's arrays while the halves are learnt.
                return str(error)
            self._in_a_row = 0
        else:
            # Requests whose every item was sampled away: nothing to learn, but they count as read.
            self._shards.push(Push(batch.spans))
        self.metrics.learnt(len(taught), int(examples.joined_ts_ms.max(initial=0)))
        return None

    def _step(self, batch: Batch, examples: Examples, samples: Sequence[tuple[int, int, int]]) -> None:
        """Pull, predict and learn, push."""
        lookup = self._network.lookup(examples.columns, len(examples))
        rows, dense = self._shards.pull(lookup.ids)
        if gone := self._dense_names - dense.keys():
            raise PushRefused(f"no shard has {', '.join(sorted(gone))}: one has lost what it knew")
        learnt = self._network.learn(lookup, rows, dense, examples, batch.spans[0].first)
        event_ms = int(examples.ts_ms.max())
        self._shards.push(Push(batch.spans, learnt.tables, learnt.dense, event_ms, samples))
        self._progress.add(examples, learnt.predictions)

    @property
    def malformed(self) -> int:
        """Examples that made no sense, and messages that could not be learnt."""
        return self._parser.malformed + self._stepped_over


def freshness_samples(
    batch: Batch, examples: Examples, leaves_at_once: npt.NDArray[np.bool_]
) -> list[tuple[int, int, int]]:
    """(partition, offset, action time in ms) of some examples that an action made: freshness is theirs.

    `leaves_at_once`: bool[labels]; others wait for the end of their window, which says nothing of the system.
    """
    acted = (examples.masks > 0) & (examples.otherwise == 0) & leaves_at_once
    chosen = np.flatnonzero((examples.action_ts_ms > 0) & acted.any(axis=1))
    chosen = chosen[:: len(chosen) // _MAX_SAMPLES + 1]
    acted_ms, logged_ms = examples.action_ts_ms[chosen], examples.action_logged_ts_ms[chosen]
    times_ms = np.where(np.abs(logged_ms - acted_ms) > _REPLAYED_MS, logged_ms, acted_ms)
    places = [(m.partition, m.offset) for m in batch.messages for _ in m.examples]
    return [(*places[i], time_ms) for i, time_ms in zip(chosen.tolist(), times_ms.tolist(), strict=True)]
