"""Simulated traffic: users whose tastes drift, items that come and go, clicks of known probability.

The world is a pure function of (seed, id, time): a run that is resumed, or a second machine, sees the same
one. The probability that user u clicks item i at time t is sigmoid(z) with

    z = BIAS + quality_i(t) + mood_u + affinity_{country(u), category(i)}(t) + taste_u(t) · style_i

quality, affinity and taste swing as sines, each with its own period of some minutes, so that what was
learnt five minutes ago misleads. Places in the catalogue are popular by Zipf's law; the item that holds a
place is replaced after some minutes by a new one with a new id, of which nothing is known.

The effects are chosen such that the probabilities themselves reach an AUC of about 0.84; most of that lies
in what can be learnt from few impressions (the item, country with category), the rest in the crossing of
user and item.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.spec import Job
from jobs.traffic.visits import Reaction, Visit

Floats = npt.NDArray[np.float64]

COUNTRIES = ("BR", "DE", "ID", "IN", "JP", "MX", "NG", "US")
DEVICES = ("phone", "tablet", "web")
CATEGORIES = 20
STYLES = 4
"""Dimensions of a taste and of a style."""
BIAS = -1.1
QUALITY, MOOD, AFFINITY, TASTE = 1.15, 0.4, 0.85, 0.4
"""Deviation of each effect in z; TASTE is that of one dimension's product."""
STEADY = 0.35
"""Share of the variance of quality, affinity and taste that does not drift."""
PERIOD_S = (360.0, 1080.0)
"""Range of the periods of all swings."""
LIFETIME_S = (300.0, 1200.0)
"""Range of how long an item holds its place."""
ZIPF_ITEMS, ZIPF_USERS = 1.0, 0.8
LIKE_SHARE = 0.3
"""Share of the clicks that a `like` follows."""
DELAY_SHAPE = 2.0
"""Shape of the gamma distribution of reaction delays: few at once, few very late."""
JITTER_MS = 300.0
"""Mean time between a reaction and its line in the log; it puts reactions out of order."""


@dataclass(frozen=True, slots=True)
class Swing:
    """Values that swing about a mean: mean + amplitude · sin(2π t / period + phase), one per element."""

    mean: Floats
    amplitude: float
    angular: Floats
    phase: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, deviation: float, size: tuple[int, ...]) -> "Swing":
        """Random means, phases and periods of shape `size`; over elements and time the values have
        `deviation`."""
        mean = rng.normal(0, deviation * math.sqrt(STEADY), size)
        amplitude = deviation * math.sqrt(2 * (1 - STEADY))
        return cls(
            mean, amplitude, 2 * math.pi / rng.uniform(*PERIOD_S, size), rng.uniform(0, 2 * math.pi, size)
        )

    def at(self, time_s: float) -> Floats:
        """The values at `time_s`, of the shape they were drawn with."""
        values: Floats = self.mean + self.amplitude * np.sin(self.angular * time_s + self.phase)
        return values


@dataclass(frozen=True, slots=True)
class User:
    """One user: what can be seen, and what cannot."""

    features: dict[str, Any]
    country: int
    mood: float
    taste: Swing


@dataclass(frozen=True, slots=True)
class Item:
    """One item: what can be seen, and what cannot."""

    features: dict[str, Any]
    category: int
    quality: Swing
    style: Floats


class World:
    """The hidden truth behind simulated traffic; every method is a pure function of its arguments and the
    seed."""

    def __init__(self, seed: int, users: int, items: int) -> None:
        self.seed, self.users, self.items = seed, users, items
        rng = np.random.default_rng([seed, 0])
        self._affinity = Swing.draw(rng, AFFINITY, (len(COUNTRIES), CATEGORIES))
        self._lifetime_ms = (rng.uniform(*LIFETIME_S, items) * 1000).astype(np.int64)
        self._age_ms = (rng.uniform(0, 1, items) * self._lifetime_ms).astype(np.int64)
        self._item_popularity = _zipf(items, ZIPF_ITEMS)
        self._user_popularity = _zipf(users, ZIPF_USERS)
        self.user = lru_cache(maxsize=1 << 16)(self._user)
        self.item = lru_cache(maxsize=1 << 16)(self._item)

    def _user(self, user_id: int) -> User:
        rng = np.random.default_rng([self.seed, 1, user_id])
        country = int(rng.integers(len(COUNTRIES)))
        seen = {"user_id": user_id, "country": COUNTRIES[country], "age": int(rng.integers(16, 80))}
        return User(seen, country, float(rng.normal(0, MOOD)), Swing.draw(rng, 1.0, (STYLES,)))

    def _item(self, item_id: int) -> Item:
        rng = np.random.default_rng([self.seed, 2, item_id])
        category = int(rng.integers(CATEGORIES))
        seen = {"item_id": item_id, "category": category, "price": round(float(rng.lognormal(2.5, 0.8)), 2)}
        centre = np.random.default_rng([self.seed, 3, category]).normal(0, 1, STYLES)
        style = TASTE * (0.8 * centre + 0.6 * rng.normal(0, 1, STYLES))
        return Item(seen, category, Swing.draw(rng, QUALITY, ()), style)

    def holders(self, places: npt.NDArray[np.int64], ts_ms: int) -> list[int]:
        """The ids of the items that hold `places` (int64[n], below `items`) at `ts_ms`."""
        generation = (ts_ms + self._age_ms[places]) // self._lifetime_ms[places]
        return [int(item_id) for item_id in generation * self.items + places]

    def visitor(self, rng: np.random.Generator) -> int:
        """The id (1..users) of who comes next."""
        return int(np.searchsorted(self._user_popularity, rng.random())) + 1

    def candidates(self, rng: np.random.Generator, count: int, ts_ms: int) -> list[int]:
        """The ids of `count` different items that exist at `ts_ms`, popular ones more often; at most all."""
        places: dict[int, None] = {}
        while len(places) < min(count, self.items):
            draws = np.searchsorted(self._item_popularity, rng.random(2 * count))
            places.update(dict.fromkeys(int(place) for place in draws))
        return self.holders(np.fromiter(places, np.int64)[:count], ts_ms)

    def probabilities(self, user_id: int, item_ids: list[int], ts_ms: int) -> Floats:
        """The probability of a click of the user on each item at `ts_ms`: float64[n]."""
        time_s = ts_ms / 1000
        user, items = self.user(user_id), [self.item(item_id) for item_id in item_ids]
        affinity = self._affinity.at(time_s)[user.country]
        quality = np.array([float(item.quality.at(time_s)) for item in items])
        z = BIAS + user.mood + quality + affinity[[item.category for item in items]]
        z += np.stack([item.style for item in items]) @ user.taste.at(time_s)
        probabilities: Floats = 1 / (1 + np.exp(-z))
        return probabilities


def _zipf(count: int, exponent: float) -> Floats:
    """The cumulative distribution of places 0..count-1 under Zipf's law: float64[count], the last is 1."""
    weights = np.arange(1, count + 1) ** -exponent
    cumulative: Floats = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0
    return cumulative


class SimulatedVisits:
    """The visits to a `World`, one after another: who comes, what is shown, what will be clicked and when.

    The draws depend on the seed and on the time of the start, so a resumed run is not a repetition of the
    first.
    """

    def __init__(self, job: Job, start_ms: int) -> None:
        traffic = job.traffic
        self._world = World(traffic.seed, traffic.users, traffic.items)
        self._rng = np.random.default_rng([traffic.seed, 4, start_ms])
        self._candidates = traffic.candidates
        self._delay_ms = traffic.action_delay_s * 1000 / DELAY_SHAPE
        self._best = [
            f"{name}@best" for name, label in job.schema_.labels.items() if "click" in label.actions
        ]
        self._prefix = f"s-{start_ms:x}-"
        self.clock_ms = float(start_ms)
        """When the last visitor came; set it to let visitors be lost, or to start the world elsewhere."""
        self._gap_ms = 1000 / traffic.requests_per_s

    def __iter__(self) -> Iterator[Visit]:
        number = 0
        while True:
            self.clock_ms += self._rng.exponential(self._gap_ms)
            yield self._visit(f"{self._prefix}{number:08d}", int(self.clock_ms))
            number += 1

    def _visit(self, request_id: str, ts_ms: int) -> Visit:
        user_id = self._world.visitor(self._rng)
        item_ids = self._world.candidates(self._rng, self._candidates, ts_ms)
        best = self._world.probabilities(user_id, item_ids, ts_ms)
        clicked = self._rng.random(len(item_ids)) < best
        context = {"hour": ts_ms // 3_600_000 % 24, "device": DEVICES[self._rng.integers(len(DEVICES))]}
        items = [self._shown(item_id, float(p)) for item_id, p in zip(item_ids, best, strict=True)]
        visit = Visit(request_id, ts_ms, self._world.user(user_id).features, context, items)
        for item_id in np.array(item_ids)[clicked]:
            visit.reactions.extend(self._reactions(int(item_id), ts_ms))
        return visit

    def _shown(self, item_id: int, best: float) -> dict[str, Any]:
        return {**self._world.item(item_id).features, "scores": dict.fromkeys(self._best, round(best, 6))}

    def _reactions(self, item_id: int, ts_ms: int) -> Iterator[Reaction]:
        """A click after a while, sometimes a like after another."""
        actions = ("click", "like") if self._rng.random() < LIKE_SHARE else ("click",)
        for action in actions:
            ts_ms += 1 + int(self._rng.gamma(DELAY_SHAPE, self._delay_ms))
            yield Reaction(item_id, action, ts_ms, ts_ms + int(self._rng.exponential(JITTER_MS)))
