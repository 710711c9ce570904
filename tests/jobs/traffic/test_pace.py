import pytest
from pydantic import ValidationError

from jobs.spec import TrafficSettings
from jobs.traffic.pace import BLOCK, Blocks, FastClock, NoClock
from jobs.traffic.visits import Visit


def visits(*times: int, items: int = 1) -> list[Visit]:
    return [Visit(f"r-{ts}", ts, {}, {}, [{"item_id": each} for each in range(items)], []) for ts in times]


class HandClock:
    def __init__(self) -> None:
        self.ms = 0.0

    def now_ms(self) -> float:
        return self.ms


def test_only_what_is_due_is_taken() -> None:
    clock = HandClock()
    blocks = Blocks(iter(visits(10, 20, 30)), clock)
    assert blocks.take(100) == []
    clock.ms = 20
    assert [visit.ts for visit in blocks.take(100)] == [10, 20]
    assert not blocks.ended


def test_without_a_clock_blocks_are_full() -> None:
    blocks = Blocks(iter(visits(*range(BLOCK + 3))), NoClock())
    assert len(blocks.take(1000)) == BLOCK
    assert len(blocks.take(1000)) == 3
    assert blocks.ended


def test_a_block_ends_where_the_model_is_to_be_frozen() -> None:
    blocks = Blocks(iter(visits(1, 2, 3, items=2)), NoClock())
    assert [visit.ts for visit in blocks.take(3)] == [1, 2]
    assert [visit.ts for visit in blocks.take(1)] == [3]


def test_event_time_does_not_pass_the_next_visit() -> None:
    clock = HandClock()
    blocks = Blocks(iter(visits(10)), clock)
    clock.ms = 5000
    assert blocks.reached_ms == 10
    assert blocks.lag_s == 4.99
    blocks.take(1)
    assert blocks.reached_ms == 5000
    assert blocks.lag_s == 0


def test_a_fast_clock_runs_as_many_times_as_fast() -> None:
    wall = HandClock()
    clock = FastClock(1_000_000, 100, wall=wall.now_ms)
    wall.ms = 2.5
    assert clock.now_ms() == 1_250_000


@pytest.mark.parametrize(("told", "speed"), [("100x", 100.0), (100, 100.0), ("2.5x", 2.5), ("max", "max")])
def test_a_speed_is_a_number_with_or_without_x_or_max(told: object, speed: object) -> None:
    assert TrafficSettings.model_validate({"speed": told}).speed == speed


@pytest.mark.parametrize("told", ["x", "fast", "0x", 0, -1, "maxx"])
def test_other_speeds_are_refused(told: object) -> None:
    with pytest.raises(ValidationError):
        TrafficSettings.model_validate({"speed": told})
