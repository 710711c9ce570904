"""Speed of a serving replica over HTTP: 8 items a request, 16 clients, while rows arrive from two shards.

    .venv/bin/python -m benchmarks.serving [--seconds 10] [--rate 400] [--json]

`rate` 0: as fast as 16 clients can. The processor time is the replica's; clients share the machine.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import aiohttp
import confluent_kafka
import numpy as np
import orjson
import psutil

from model.features import table_settings
from model.settings import ModelSettings
from pipelines.schema import ExampleSchema
from ps.settings import TableSettings
from ps.updates import Update, encode
from serving.replica import run_replica
from serving.settings import ServingSettings

CLIENTS, ITEMS, USERS, CATALOGUE, TOPIC = 16, 8, 2000, 1000, "updates"
ROWS_PER_S = 2000
SCHEMA = ExampleSchema.model_validate(
    {
        "features": {
            "user_id": {"from": "user.user_id"},
            "country": {"from": "user.country", "type": "string"},
            "hour": {"from": "context.hour"},
            "item_id": {"from": "item.item_id"},
            "category": {"from": "item.category"},
        },
        "labels": {"click": {"action": "click"}},
    }
)
TABLES = table_settings(SCHEMA, {}, TableSettings())


def replica(bootstrap: str, directory: str) -> None:
    run_replica(
        index=0,
        address="127.0.0.1:0",
        schema=SCHEMA,
        tables=TABLES,
        model=ModelSettings(),
        seed=1,
        shards=2,
        bootstrap=bootstrap,
        kafka_client={},
        updates_topic=TOPIC,
        state_dir=Path(directory),
        serving=ServingSettings(),
    )


def question(random: Random) -> bytes:
    items = [{"item_id": random.randrange(CATALOGUE), "category": random.randrange(20)} for _ in range(ITEMS)]
    user = {"user_id": random.randrange(USERS), "country": "de"}
    return orjson.dumps({"request_id": "r", "user": user, "context": {"hour": 9}, "items": items})


async def client(
    session: aiohttp.ClientSession, url: str, end: float, pause_s: float, seed: int
) -> list[float]:
    """Asks until `end`, once each `pause_s` at most; seconds of every request."""
    random, took = Random(seed), []
    due = time.perf_counter() + pause_s * random.random()
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        async with session.post(f"{url}/v1/predict", data=question(random)) as response:
            assert response.status == 200, await response.text()
            await response.read()
        took.append(time.perf_counter() - start)
        due = max(due + pause_s, start) if pause_s else time.perf_counter()
    return took


async def publish(producer: confluent_kafka.Producer, end: float) -> None:
    """Once a second, what two shards would: rows of users and items."""
    rng, sequence, epoch = np.random.default_rng(1), 0, time.time_ns() // 1_000_000
    while time.perf_counter() < end:
        sequence += 1
        for shard in range(2):
            ids = np.unique(rng.integers(0, USERS, ROWS_PER_S // 2))
            rows = rng.normal(0, 0.05, (len(ids), TABLES["user_id"].dim)).astype(np.float32)
            update = Update(shard, 2, epoch, sequence, rows={"user_id": (ids, rows)}, life=epoch)
            producer.produce(TOPIC, encode(update), str(shard))
        producer.flush()
        await asyncio.sleep(1)


async def load(url: str, producer: confluent_kafka.Producer, seconds: float, rate: float) -> list[float]:
    end = time.perf_counter() + seconds
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        clients = [client(session, url, end, CLIENTS / rate if rate else 0, i) for i in range(CLIENTS)]
        publishing = asyncio.create_task(publish(producer, end))
        took = await asyncio.gather(*clients)
        await publishing
    return [each for one in took for each in one]


def measure(seconds: float, rate: float) -> dict[str, float]:
    producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=5).brokers.values()))
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.serving", "--replica", f"{broker.host}:{broker.port}"]
        process = subprocess.Popen([*command, "--directory", directory], stdout=subprocess.PIPE)
        assert process.stdout
        url = "http://" + orjson.loads(process.stdout.readline())["address"]
        asyncio.run(load(url, producer, 2, rate))
        cpu = psutil.Process(process.pid).cpu_times
        before, start = cpu(), time.perf_counter()
        took = asyncio.run(load(url, producer, seconds, rate))
        elapsed, after = time.perf_counter() - start, cpu()
        process.terminate()
        process.wait()
    busy_s = after.user + after.system - before.user - before.system
    p50, p99 = np.percentile(took, (50, 99)) * 1000
    return {
        "requests_per_s": round(len(took) / elapsed, 1),
        "replica_cpu_cores": round(busy_s / elapsed, 3),
        "cpu_ms_per_request": round(1000 * busy_s / len(took), 3),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replica", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.replica:
        replica(arguments.replica, arguments.directory)
        return
    found = measure(arguments.seconds, arguments.rate)
    print(json.dumps(found) if arguments.json else "\n".join(f"{k:20} {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
