"""How many requests wait is known exactly, whatever fails and however often the job is rescaled."""

from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.join.jvm import harness

CHANGES = st.lists(st.tuples(st.text(max_size=4), st.integers(0, 1000)), max_size=30)


@given(st.lists(st.tuples(st.integers(1, 5), CHANGES), min_size=1, max_size=4))
def test_waiting_requests_and_bytes_are_counted_through_every_rescale(runs):
    waiting: dict[str, int] = {}
    states: list[str] = []
    for parallelism, changes in runs:
        steps = []
        for key, after_bytes in changes:
            steps.append((key, waiting.get(key, 0), after_bytes))
            waiting[key] = after_bytes
        answer = harness().call("waiting", parallelism=parallelism, states=states, changes=steps)
        states = answer["states"]
        requests, waiting_bytes = map(sum, zip(*answer["counts"], strict=True))
        assert (requests, waiting_bytes) == (sum(map(bool, waiting.values())), sum(waiting.values()))
        assert all(count >= 0 for counts in answer["counts"] for count in counts)
