"""A restored job knows how far event time had come, though none of its sources has told it yet."""

from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.join.jvm import harness

NEVER_MS, END_MS = -(1 << 63), (1 << 63) - 1
TIMES_MS = st.integers(-1000, 1000)
KEYS = [f"r{number}" for number in range(20)]


@given(st.lists(st.lists(TIMES_MS | st.just(END_MS), min_size=1, max_size=5), max_size=4), TIMES_MS)
def test_no_key_falls_behind_what_the_subtask_that_had_it_had_come_to_and_none_runs_ahead(runs, now_ms):
    reached = dict.fromkeys(KEYS, NEVER_MS)
    states: list[str] = []
    for watermarks in runs:
        answer = harness().call("saved times", keys=KEYS, states=states, now=NEVER_MS, watermarks=watermarks)
        states = answer["states"]
        for key, (subtask, time_ms) in zip(KEYS, answer["times"], strict=True):
            assert time_ms == reached[key]
            # The end of a bounded input is no time.
            if watermarks[subtask] != END_MS:
                reached[key] = max(time_ms, watermarks[subtask])
    # Whatever watermark comes then, the later of the two counts.
    answer = harness().call("saved times", keys=KEYS, states=states, now=now_ms, watermarks=[0])
    expected = [max(now_ms, reached[key]) for key in KEYS]
    assert [time_ms for _, time_ms in answer["times"]] == expected


def test_times_of_another_version_are_refused_by_its_number():
    answer = harness().ask("saved times", keys=[], states=["AgAA"], now=0, watermarks=[0])
    assert "version 2" in answer["failure"]
