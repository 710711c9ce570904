"""One serving replica as a process: updates in, answers out, until SIGTERM."""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

import orjson
import uvicorn
from fastapi import FastAPI

from model.settings import ModelSettings
from pipelines.schema import ExampleSchema
from ps.settings import TableSettings
from serving.app import make_app
from serving.batching import Batcher
from serving.dense import DenseLoader
from serving.freshness import Freshness
from serving.metrics import ReplicaMetrics
from serving.parameters import Parameters
from serving.requests import MAX_VALUES, RequestReader
from serving.scoring import RequestScorer, Scoring
from serving.settings import ServingSettings
from serving.status import Status
from serving.updates import UpdatesConsumer

_STOP_TIMEOUT_S: Final = 5
_log: Final = logging.getLogger(__name__)


def run_replica(
    *,
    index: int,
    address: str,
    schema: ExampleSchema,
    tables: Mapping[str, TableSettings],
    model: ModelSettings,
    seed: int,
    shards: int,
    bootstrap: str,
    kafka_client: Mapping[str, str],
    updates_topic: str,
    state_dir: Path,
    serving: ServingSettings,
) -> None:
    """Serve at `address` (host:port; port 0: any free one) until SIGTERM or SIGINT.

    `tables`: those of `model.features.table_settings`, which the shards have too. Prints one line of JSON on
    standard output when it answers. Raises StoreError or OSError when directory or address can't be used.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from model.score import Scorer

    # Calls are many and small: a second thread would only get in the way of the other roles.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    updates = UpdatesSource(bootstrap, kafka_client, updates_topic, shards)
    scorer = Scorer(schema, model, tables, seed)
    parameters = Parameters(state_dir, tables, seed, scorer.initial_dense(), serving.rows)
    serve(index, address, schema, scorer, parameters, updates, serving)


@dataclass(frozen=True, slots=True)
class UpdatesSource:
    """Where updates come from."""

    bootstrap: str
    kafka_client: Mapping[str, str]
    topic: str
    shards: int


def serve(
    index: int,
    address: str,
    schema: ExampleSchema,
    scorer: RequestScorer,
    parameters: Parameters,
    updates: UpdatesSource,
    serving: ServingSettings,
) -> None:
    """Follow `updates` and answer at `address` until SIGTERM or SIGINT; then close everything.

    Ends the process with status 1 when a thread dies that updates need: its traceback is on standard error.
    """
    listening = _listen(address)
    metrics, freshness = ReplicaMetrics(), Freshness(updates.shards)
    dense = DenseLoader(parameters.replace_dense)
    consumer = UpdatesConsumer(
        name=f"freshet-replica-{index}",
        bootstrap=updates.bootstrap,
        kafka_client=updates.kafka_client,
        topic=updates.topic,
        parameters=parameters,
        dense=dense,
        freshness=freshness,
    )
    scoring = Scoring(scorer, parameters, updates.shards, freshness, metrics)
    batcher = Batcher(scoring.answer, serving.max_batch_items, MAX_VALUES)
    app = make_app(
        reader=RequestReader(schema, serving.max_batch_items),
        batcher=batcher,
        parameters=parameters,
        status=Status(index, parameters, consumer, dense, freshness, metrics),
        metrics=metrics,
        max_body_bytes=serving.max_body_bytes,
    )
    parts = (consumer, dense)
    for part in parts:
        part.start()
    try:
        _Server(app, parts).run(sockets=[listening])
        dead = [part.name for part in parts if not part.is_alive()]
    finally:
        gc.unfreeze()
        for part in parts:
            part.stop()
        batcher.close()
        parameters.close()
    if dead:
        sys.exit(f"thread {' and '.join(dead)} of this replica has died, see above: it serves no old rows")


class _Server(uvicorn.Server):
    """Ends on a signal, and with the first of `parts`: what it answers would only get older."""

    def __init__(self, app: FastAPI, parts: Sequence[Thread]) -> None:
        self._parts = parts
        # Else uvicorn hands the signal on after its own shutdown, and the process dies of it too early.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Whether to end."""
        return await super().on_tick(counter) or not all(part.is_alive() for part in self._parts)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        # What is there now stays: it need not be searched for garbage again and again.
        gc.freeze()
        assert sockets
        host, port = sockets[0].getsockname()[:2]
        sys.stdout.write(orjson.dumps({"ready": True, "address": f"{host}:{port}"}).decode() + "\n")
        sys.stdout.flush()


def _listen(address: str) -> socket.socket:
    """A socket at host:port; raises OSError in words."""
    host, _, port = address.rpartition(":")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, int(port)))
    except OSError as error:
        listening.close()
        raise OSError(
            f"serving can't listen at {address}: {error.strerror}; choose another address"
        ) from error
    return listening
