import time

import numpy as np
import pytest

from ps.updates import Sample, Update
from serving.freshness import Freshness

NOW_MS = time.time_ns() // 1_000_000


def cut(shard: int, *samples: Sample) -> Update:
    return Update(shard=shard, shards=2, epoch=1, sequence=1, life=1, samples=samples)


def test_a_sample_is_ready_once_every_shard_has_learnt_it():
    freshness = Freshness(shards=2)
    sample = Sample(0, 4, NOW_MS)
    freshness.applied(cut(0, sample), {0: {0: 5}})
    assert not len(freshness.take())
    freshness.applied(cut(1, sample), {0: {0: 5}, 1: {0: 4}})
    assert not len(freshness.take())
    freshness.applied(cut(1), {0: {0: 5}, 1: {0: 5}})
    assert freshness.take().tolist() == [NOW_MS]
    assert not len(freshness.take())


def test_the_other_shard_may_be_ahead():
    freshness = Freshness(shards=2)
    freshness.applied(cut(1), {1: {0: 9}})
    freshness.applied(cut(0, Sample(0, 4, NOW_MS)), {0: {0: 5}, 1: {0: 9}})
    assert len(freshness.take()) == 1


def test_several_actions_of_one_place_all_count_and_negatives_do_not():
    freshness = Freshness(shards=1)
    freshness.applied(cut(0, Sample(0, 4, NOW_MS), Sample(0, 4, NOW_MS + 1), Sample(0, 4, 0)), {0: {0: 5}})
    assert freshness.take().tolist() == [NOW_MS, NOW_MS + 1]


def test_what_a_restarted_shard_learns_again_is_not_measured_again():
    freshness = Freshness(shards=1)
    freshness.applied(cut(0, Sample(0, 4, NOW_MS)), {0: {0: 5}})
    freshness.take()
    freshness.applied(cut(0), {0: {0: 2}})
    freshness.applied(cut(0, Sample(0, 4, NOW_MS), Sample(0, 6, NOW_MS)), {0: {0: 7}})
    assert len(freshness.take()) == 1


def test_a_prediction_that_failed_serves_nothing():
    freshness = Freshness(shards=1)
    freshness.applied(cut(0, Sample(0, 4, NOW_MS)), {0: {0: 5}})
    freshness.put_back(freshness.take())
    assert len(freshness.take()) == 1
    assert freshness.whole_run().count == 0


def test_quantiles_are_exact_in_the_last_minute_and_within_a_percent_over_the_run():
    freshness = Freshness(shards=1)
    ages_s = np.random.default_rng(1).lognormal(0, 1, 5000)
    now_ms = time.time() * 1000
    freshness.served((now_ms - 1000 * ages_s).astype(np.int64))
    p50, p99 = np.percentile(ages_s, (50, 99))
    recent, whole = freshness.last_minute(), freshness.whole_run()
    assert recent.count == whole.count == 5000
    assert (recent.p50_s, recent.p99_s) == pytest.approx((p50, p99), abs=0.1)
    assert (whole.p50_s, whole.p99_s) == pytest.approx((recent.p50_s, recent.p99_s), rel=0.02)


def test_nothing_served_has_no_quantiles():
    freshness = Freshness(shards=1)
    assert freshness.last_minute().p50_s is None
    assert freshness.whole_run().p99_s is None
