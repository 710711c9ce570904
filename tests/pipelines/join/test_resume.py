"""A joiner of an earlier version is stopped; today's goes on from its savepoint, on a real Flink."""

from collections import Counter

import pytest

from tests.pipelines.join.conftest import Cluster
from tests.pipelines.join.savepoints import (
    AFTER,
    BASE_S,
    BEFORE,
    CLOSED_S,
    FORGOTTEN,
    GOLDEN,
    SAVED_S,
    Resuming,
    heartbeats,
)
from tests.pipelines.join.stack import Stack, wait_for
from tests.pipelines.join.test_operator import resolved

pytestmark = pytest.mark.stack

WITHOUT_EVENT_TIMES = {"python-v1", "jvm-v1"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    started = Stack(tmp_path_factory.mktemp("run"))
    started.start_task_manager()
    yield started
    started.kill()


def expected(job, before, after):
    """What the same events give without an interruption: all that comes after event time `SAVED_S`."""
    reference = Cluster(job)
    for event in before:
        reference.send(event.value, is_action=event.is_action)
    reference.advance(1000 * (BASE_S + SAVED_S))
    reference.output.clear()
    for event in after:
        reference.send(event.value, is_action=event.is_action)
    reference.finish()
    return reference


@pytest.mark.parametrize("name", sorted(golden.name for golden in GOLDEN.iterdir() if golden.is_dir()))
@pytest.mark.timeout(300)
def test_a_savepoint_of_another_version_is_gone_on_from_as_if_nothing_had_been(stack, make_job, name):
    from jobs.stack.rest import FlinkUnreachableError
    from jobs.topics import read_topic
    from pipelines.codec import decode

    resuming = Resuming(stack, name)
    # Up to the savepoint's offsets, which are not read again.
    resuming.send(BEFORE)
    after = AFTER if name in WITHOUT_EVENT_TIMES else (*FORGOTTEN, *AFTER)
    stack.change(restore_from=(GOLDEN / name).as_uri())
    stack.submit()
    wait_for(stack.runs, "the job to run", retry=FlinkUnreachableError)
    resuming.send((*after, *heartbeats(CLOSED_S)))

    reference = expected(make_job(0.5), BEFORE, after)
    left = len({(each.request_id, each.item_id) for each in reference.examples}) + reference.sampled_away

    def lists():
        found = [decode(message.value()) for message in read_topic(stack.job, stack.topic("examples"))]
        examples = [each for one in found for each in one.examples]
        sampled_away = sum(one.sampled_away for one in found)
        impressions = {(each.request_id, each.item_id) for each in examples}
        return (examples, sampled_away) if len(impressions) + sampled_away >= left else None

    examples, sampled_away = wait_for(lists, "the examples")
    assert resolved(examples) == resolved(reference.examples)
    assert sampled_away == reference.sampled_away
    letters = [dict(each.headers()) for each in read_topic(stack.job, stack.topic("dead_letters"))]
    reasons = Counter(letter["reason"].decode() for letter in letters)
    assert reasons == Counter(reason for reason, _ in reference.dead)
    stack.flink.cancel()
    wait_for(lambda: stack.flink.rest.live_job(name) is None, "the end of the job")
