"""Tables that were cloned, or restored from the items of others, go their own ways, as references do."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from ps.reference import ReferenceTable
from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

SETTINGS = TableSettings(
    dim=3,
    initializer=InitializerSettings(kind="uniform"),
    optimizer=OptimizerSettings(kind="adagrad", l2=0.01),
)
SEED = 11
Pair = tuple[EmbeddingTable, ReferenceTable]

few = st.lists(st.integers(-20, 20), max_size=30).map(lambda ids: np.array(ids, np.int64))
many = st.builds(
    lambda start, step: start + step * np.arange(700), st.integers(-1000, 1000), st.integers(1, 99)
)
batches = st.one_of(few, many)


def rows_by_id(table: EmbeddingTable | ReferenceTable) -> list[np.ndarray]:
    arrays = table.items()
    order = np.argsort(arrays[0])
    return [array[order] for array in arrays]


def check_equal(pair: Pair) -> None:
    ours, theirs = pair
    for our, their in zip(rows_by_id(ours), rows_by_id(theirs), strict=True):
        assert np.array_equal(our, their)
    assert sorted(ours.touched(clear=False)) == sorted(theirs.touched(clear=False))


class Copies(RuleBasedStateMachine):
    pairs = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Pair] = []

    def keep(self, ours: EmbeddingTable, theirs: ReferenceTable) -> Pair:
        self.all.append((ours, theirs))
        return ours, theirs

    @rule(target=pairs, placement_seed=st.integers(0, 2**64 - 1))
    def make(self, placement_seed: int) -> Pair:
        table = EmbeddingTable(SETTINGS, SEED, initial_capacity_rows=1, placement_seed=placement_seed)
        return self.keep(table, ReferenceTable(SETTINGS, SEED))

    @rule(target=pairs, pair=pairs)
    def clone(self, pair: Pair) -> Pair:
        return self.keep(pair[0].clone(), pair[1].clone())

    @rule(target=pairs, pair=pairs, placement_seed=st.integers(0, 2**64 - 1))
    def restore(self, pair: Pair, placement_seed: int) -> Pair:
        copies = (
            EmbeddingTable(SETTINGS, SEED, placement_seed=placement_seed),
            ReferenceTable(SETTINGS, SEED),
        )
        for copy, original in zip(copies, pair, strict=True):
            copy.assign(*original.items())
        return self.keep(*copies)

    @rule(pair=pairs, ids=batches, seed=st.integers(0, 2**32))
    def learn(self, pair: Pair, ids: np.ndarray, seed: int) -> None:
        grads = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
        for table in pair:
            table.apply_gradients(ids, grads, ts_ms=seed)

    @rule(pair=pairs, ids=batches, seed=st.integers(0, 2**32))
    def learn_from_one_that_is_not_finite(self, pair: Pair, ids: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        grads = np.ones((len(ids) + 1, 3), np.float32)
        grads[rng.integers(len(grads)), rng.integers(3)] = rng.choice([np.nan, np.inf, -np.inf])
        for table in pair:
            with pytest.raises(ValueError, match="NaN, infinite"):
                table.apply_gradients(np.append(ids, 5), grads)
            with pytest.raises(ValueError, match="NaN or an infinite"):
                table.assign(np.append(ids, 5), grads)

    @rule(pair=pairs, ids=batches)
    def remove(self, pair: Pair, ids: np.ndarray) -> None:
        ours, theirs = pair
        assert ours.remove(ids) == theirs.remove(ids)

    @rule(pair=pairs)
    def clear_touched(self, pair: Pair) -> None:
        ours, theirs = pair
        assert sorted(ours.touched()) == sorted(theirs.touched())

    @rule(target=pairs, pair=consumes(pairs))
    def forget(self, pair: Pair) -> object:
        check_equal(pair)
        self.all = [kept for kept in self.all if kept[0] is not pair[0]]
        return multiple()

    def teardown(self) -> None:
        for pair in self.all:
            check_equal(pair)


Copies.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCopiesAreAsThoseOfTheReference = Copies.TestCase
