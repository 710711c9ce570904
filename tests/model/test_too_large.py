"""Whatever `examples` hold, the trainer goes on: what is too large for the shards is learnt in halves."""

from dataclasses import replace

import numpy as np
import pytest

from model.batches import Batcher, Message
from model.features import table_settings
from model.metrics import Judgement, Progress
from model.network import Network
from model.report import TrainerMetrics
from model.settings import MAX_LABEL, ModelSettings
from model.train import MOST_IN_A_ROW, Trainer
from ps import wire
from ps.client import PushRefused, Shards, Tolerance
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import Shard
from tests.ps.served import Served, serve_shards

SHARDS = 2


class Loop:
    """A trainer, and shards behind real sockets."""

    def __init__(self, schema, network: Network, bad_gradients: str = "refuse") -> None:
        tables = tables_of(schema, bad_gradients)
        dense = OptimizerSettings(kind="adam", bad_gradients=bad_gradients)
        self.served: Served = serve_shards([Shard(i, SHARDS, tables, dense, seed=1) for i in range(SHARDS)])
        self.shards = Shards(self.served.addresses, tolerance=Tolerance.of(tables, dense))
        self.progress = Progress(
            {name: Judgement(each.kind, 0) for name, each in schema.labels.items()}, 5000
        )
        self.trainer = Trainer(schema, network, self.shards, self.progress, TrainerMetrics(self.progress))
        self.rewinds = 0

    def learn(self, messages: list[Message], batch_size: int = 5000) -> None:
        """As the loop of the trainer does, from the marks on, to the end."""
        batcher = Batcher()
        while True:
            self._place(batcher, messages)
            try:
                while (batch := batcher.take(batch_size)) is not None:
                    self.trainer.learn(batch)
                return
            except PushRefused:
                self.rewinds += 1
                assert self.rewinds < 3
                batcher.clear()

    def _place(self, batcher: Batcher, messages: list[Message]) -> None:
        marks = self.trainer.marks()
        for partition in {message.partition for message in messages}:
            known = [shard.get(partition, 0) for shard in marks]
            batcher.place(partition, min(known), known)
        for message in messages:
            batcher.add(message)

    @property
    def pushes(self) -> list[int]:
        """By shard: those that it has applied."""
        return [shard._steps for shard in self.served.shards]

    @property
    def refusals(self) -> list[float]:
        """By shard: requests that it could make nothing of."""
        return [service._metrics.malformed._value.get() for service in self.served.services]

    @property
    def contents(self) -> list[object]:
        """By shard: all that it knows."""
        return [_contents(shard) for shard in self.served.shards]

    def close(self) -> None:
        self.shards.close()
        self.served.stop()


def tables_of(schema, bad_gradients: str = "refuse") -> dict[str, TableSettings]:
    optimizer = OptimizerSettings(bad_gradients=bad_gradients)
    return table_settings(schema, {}, TableSettings(dim=4, optimizer=optimizer))


def _contents(shard: Shard) -> object:
    state = shard.state()
    tables = {name: [part.tolist() for part in shard.table(name).items()] for name in shard.tables}
    rows = {name: sorted(zip(*parts, strict=True)) for name, parts in tables.items()}
    dense = {name: tensor.tolist() for name, tensor in state.dense.items()}
    parts = {name: {k: v.tolist() for k, v in parts.items()} for name, parts in state.dense_state.items()}
    state.close()
    return rows, dense, parts, dict(state.marks), state.steps


def is_finite(shard: Shard) -> bool:
    rows = [shard.table(name).items()[1] for name in shard.tables]
    return all(np.isfinite(each).all() for each in [*rows, *shard.dense().values()])


def counts(shard: Shard) -> list[int]:
    """How often each row of `item_id` was learnt."""
    return shard.table("item_id").items()[3].tolist()


@pytest.fixture(scope="module")
def network(mixed) -> Network:
    return Network(mixed, ModelSettings(hidden=(8,)), tables_of(mixed), seed=1)


@pytest.fixture
def make_loop(mixed, network):
    loops = []

    def make(*options: str) -> Loop:
        loops.append(Loop(mixed, network, *options))
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()


@pytest.fixture
def play(mixed, make_example):
    """`play(offset, number)`: a message of one example, with an item of its own, in one of two partitions."""

    def make(offset: int, number: float, rate: float = 1.0, partition: int = 0) -> Message:
        example = make_example(
            mixed,
            {"user_id": 1},
            {},
            {"item_id": 1000 * partition + offset},
            labels={"click": 0.0, "play": number},
            masks={"click": 0.0, "play": 1.0},
            features={
                "user_id": [1],
                "item_id": [1000 * partition + offset],
                "otherwise:play": 1.0,
            },
            sampling_rate=rate,
        )
        return Message(partition, offset, (example,))

    return make


HEAVY = {"number": MAX_LABEL, "rate": 0.005}
"""Each pulls with 2e11: four of them are within what a shard takes, eight are not."""


@pytest.mark.parametrize("label", [MAX_LABEL, -MAX_LABEL])
def test_a_batch_of_the_largest_labels_is_learnt(make_loop, play, label):
    loop = make_loop()
    loop.learn([play(offset, label) for offset in range(1024)])
    assert loop.shards.marks() == [{0: 1024}] * SHARDS
    assert loop.pushes == [2, 2]
    assert loop.refusals == [0, 0]
    assert all(is_finite(shard) for shard in loop.served.shards)
    assert loop.trainer.malformed == 0
    assert loop.trainer.metrics.examples._value.get() == 1024


def test_halves_teach_what_a_smaller_batch_would_have_taught(make_loop, play):
    whole, halved = make_loop(), make_loop()
    messages = [play(offset, **HEAVY) for offset in range(8)]
    whole.learn(messages)
    halved.learn(messages, batch_size=4)
    assert whole.contents == halved.contents
    assert whole.pushes == [2, 2]


def test_halves_count_and_judge_every_example_once(make_loop, play):
    loop = make_loop()
    messages = [play(offset, **HEAVY) for offset in range(8)]
    loop.learn([*messages, Message(0, 8, (b"no example",))])
    assert loop.trainer.malformed == 1
    assert loop.trainer.metrics.examples._value.get() == 8
    assert loop.progress.windows["play", "fresh"]._length == 8


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("index", range(SHARDS))
def test_a_shard_that_misses_a_half_learns_it_later_and_the_other_not_again(
    make_loop, play, monkeypatch, lost, index
):
    """Eight messages of each partition go in four pushes, of which shard `index` does not take one."""
    loop = make_loop()
    push = loop.shards.push

    def push_or_lose(one) -> None:
        if loop.pushes[index] == lost and not loop.rewinds:
            loop.served.live_anew(index)
        push(one)

    monkeypatch.setattr(loop.shards, "push", push_or_lose)
    loop.learn([play(offset, partition=p, **HEAVY) for p in range(2) for offset in range(8)])
    assert loop.rewinds == 1
    assert loop.shards.marks() == [{0: 8, 1: 8}] * SHARDS
    assert [set(counts(shard)) for shard in loop.served.shards] == [{1}] * SHARDS
    assert sum(len(counts(shard)) for shard in loop.served.shards) == 16


def test_more_than_a_frame_holds_is_learnt_in_halves(make_loop, play, monkeypatch):
    loop = make_loop()
    messages = [play(offset, 1.0) for offset in range(400)]
    # 28 bytes of an id and its row, some 200 ids for each shard, beside them the dense tensors.
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 28 * 120 + 1000)
    loop.learn(messages)
    assert loop.shards.marks() == [{0: 400}] * SHARDS
    assert loop.pushes == [2, 2]
    assert loop.refusals == [0, 0]
    assert [set(counts(shard)) for shard in loop.served.shards] == [{1}] * SHARDS
    assert loop.trainer.metrics.examples._value.get() == 400


@pytest.mark.parametrize("bad", [0, 5, 7])
def test_a_message_that_cannot_be_learnt_is_told_counted_and_passed(make_loop, play, caplog, bad):
    loop = make_loop()
    messages = [play(offset, 1.0) for offset in range(8)]
    messages[bad] = play(bad, MAX_LABEL, rate=1e-30)
    loop.learn(messages)
    assert loop.shards.marks() == [{0: 8}] * SHARDS
    assert sorted(item for shard in loop.served.shards for item in _items(shard)) == sorted(
        {*range(8)} - {bad}
    )
    assert loop.refusals == [0, 0]
    assert loop.trainer.malformed == 1
    assert loop.trainer.metrics.examples._value.get() == 7
    assert f"partition 0, offset {bad} can't be learnt: table " in caplog.text
    assert "beyond 1e+12" in caplog.text


def _items(shard: Shard) -> list[int]:
    return shard.table("item_id").items()[0].tolist()


def test_a_message_that_fits_no_frame_is_told_counted_and_passed(make_loop, play, monkeypatch, caplog):
    loop = make_loop()
    large = Message(0, 1, tuple(play(offset, 1.0).examples[0] for offset in range(10, 400)))
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 28 * 120 + 1000)
    loop.learn([play(0, 1.0), large, play(2, 1.0)])
    assert loop.shards.marks() == [{0: 3}] * SHARDS
    assert sorted(item for shard in loop.served.shards for item in _items(shard)) == [0, 2]
    assert loop.trainer.malformed == 1
    assert "partition 0, offset 1 can't be learnt: " in caplog.text
    assert "bytes for one shard" in caplog.text


def test_what_is_skipped_needs_no_halves(make_loop, play):
    loop = make_loop("skip")
    loop.learn([play(offset, **HEAVY) for offset in range(8)])
    assert loop.pushes == [1, 1]
    # The user's row, and tensors that every example adds to; each item's own gradient is good.
    assert sum(shard.table("user_id").skipped_rows for shard in loop.served.shards) == 1
    assert sum(shard.table("item_id").skipped_rows for shard in loop.served.shards) == 0
    assert sum(shard.bad_dense_gradients[0] for shard in loop.served.shards) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_rate": 1e-45},
        {"masks": {"click": 3e38, "play": -3e38}},
        {
            "ts_ms": (1 << 63) - 1,
            "joined_ts_ms": -(1 << 63),
            "action_ts_ms": 1,
            "action_logged_ts_ms": -(1 << 63),
        },
        {"ts_ms": -(1 << 63), "joined_ts_ms": (1 << 63) - 1},
        {"scores": {"play": float("inf"), "click": float("-inf")}},
        {"features": {"was:play": -MAX_LABEL, "was:click": MAX_LABEL}},
        {"features": {"item_id": [-(1 << 63)]}},
    ],
)
def test_no_number_of_an_example_ends_the_trainer(make_loop, mixed, make_example, play, changes):
    both = {"labels": {"click": MAX_LABEL, "play": -MAX_LABEL}, "masks": {"click": 1.0, "play": 1.0}}
    example = make_example(mixed, {"user_id": 1}, {}, {"item_id": 1}, **{**both, **changes})
    loop = make_loop()
    loop.learn([play(0, 1.0), Message(0, 1, (example,)), play(2, 1.0)])
    assert loop.shards.marks() == [{0: 3}] * SHARDS
    assert all(is_finite(shard) for shard in loop.served.shards)


def test_a_model_that_can_learn_nothing_any_more_ends_the_trainer(make_loop, play, monkeypatch):
    """Its messages are none that could be passed over: they are there when it goes on from a snapshot."""
    loop = make_loop()
    messages = [play(offset, 1.0) for offset in range(MOST_IN_A_ROW + 20)]
    loop.learn(messages[:10])
    learn = loop.trainer._network.learn
    monkeypatch.setattr(
        loop.trainer._network,
        "learn",
        lambda *given: (
            (learnt := learn(*given))
            and replace(learnt, dense={name: each * np.nan for name, each in learnt.dense.items()})
        ),
    )
    with pytest.raises(ValueError, match="it is the model that has gone wrong"):
        loop.learn(messages)
    assert max(mark for shard in loop.trainer.marks() for mark in shard.values()) == 10 + MOST_IN_A_ROW
