"""What the sample of negatives promises to whoever weighs by it."""

import math
import random

import pytest

from pipelines.join.sampling import Sampler
from pipelines.records import Item, Request
from pipelines.settings import NegativeSettings

REQUESTS, ITEMS, CAP = 4000, 6, 2
BOUND = 4.0
"""Standard errors that chance may explain."""
BY_CATEGORY = {"by": {"item.category": {"film": 0.9, "news": 0.2}}, "rate": 0.5}


def requests():
    chance = random.Random(5)
    for number in range(REQUESTS):
        categories = chance.choices(["film", "news", "sport"], k=ITEMS)
        items = tuple(Item(str(at), {"category": each}) for at, each in enumerate(categories))
        yield Request(f"r{number}", 0, {}, {}, items)


@pytest.fixture(scope="module", params=[None, CAP, 1])
def sampled(request):
    """(request, items that are kept, sampling rates), under a cap and without one."""
    sampler = Sampler(7, NegativeSettings(**BY_CATEGORY, max_per_request=request.param))
    rows = []
    for each in requests():
        sample = sampler.of(each)
        kept = [sample.is_kept(at) for at in range(ITEMS)]
        rows.append((each, kept, [sample.rate(at) for at in range(ITEMS)]))
    return sampler.cap, rows


def errors(differences):
    """How many standard errors the sum of independent numbers is from 0."""
    return sum(differences) / math.sqrt(sum(each * each for each in differences))


def test_of_no_request_more_are_kept_than_the_cap(sampled):
    cap, rows = sampled
    most = max(sum(kept) for _, kept, _ in rows)
    assert most == (cap or ITEMS)


@pytest.mark.parametrize("category", ["film", "news", "sport"])
def test_weights_of_one_over_the_rate_are_unbiased_in_every_segment(sampled, category):
    _, rows = sampled
    differences = [
        sum(
            is_kept / rate - 1
            for item, is_kept, rate in zip(request.items, kept, rates, strict=True)
            if item.values["category"] == category
        )
        for request, kept, rates in rows
    ]
    assert abs(errors(differences)) < BOUND


def test_weights_of_one_over_the_rates_of_the_job_file_are_biased_under_a_cap(sampled):
    cap, rows = sampled
    of_job = {"film": 0.9, "news": 0.2, "sport": 0.5}
    differences = [
        sum(k / of_job[item.values["category"]] - 1 for item, k in zip(request.items, kept, strict=True))
        for request, kept, _ in rows
    ]
    assert (errors(differences) < -10 * BOUND) == (cap is not None)


def test_of_items_with_like_rates_so_many_are_kept(sampled):
    _, rows = sampled
    pairs = [pair for _, kept, rates in rows for pair in zip(rates, kept, strict=True)]
    for lowest in (0.0, 0.1, 0.3, 0.6):
        among = [(rate, is_kept) for rate, is_kept in pairs if lowest <= rate < lowest + 0.3]
        variance = sum(rate * (1 - rate) for rate, _ in among)
        assert abs(sum(is_kept - rate for rate, is_kept in among)) <= BOUND * math.sqrt(variance) + 1e-6


def test_a_rate_does_not_depend_on_the_number_of_its_own_item(sampled, monkeypatch):
    cap, rows = sampled
    sampler = Sampler(7, NegativeSettings(**BY_CATEGORY, max_per_request=cap))
    request, _, rates = rows[0]
    numbers = {str(at): sampler.uniform(request.request_id, str(at)) for at in range(ITEMS)}
    monkeypatch.setattr(Sampler, "uniform", lambda self, request_id, item_id: numbers[item_id])
    for step in range(1000):
        numbers["0"] = (step + 0.5) / 1000
        sample = sampler.of(request)
        assert sample.rate(0) == rates[0]
        assert sample.is_kept(0) == (numbers["0"] < rates[0])
