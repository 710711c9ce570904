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
    heartbeats,
    send,
)
from tests.pipelines.join.test_operator import resolved
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

WITHOUT_EVENT_TIMES = {"python-v1", "jvm-v1"}


@pytest.fixture(scope="module")
def stack(shared_stack):
    shared_stack.start_task_manager()
    yield shared_stack
    shared_stack.kill_task_managers()


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

    stack.become(name, engine=name.split("-")[0], pool=None, restore_from=(GOLDEN / name).as_uri())
    # Up to the savepoint's offsets: they are not read again.
    send(stack, BEFORE)
    after = AFTER if name in WITHOUT_EVENT_TIMES else (*FORGOTTEN, *AFTER)
    stack.submit()
    wait_for(stack.runs, "the job to run", retry=FlinkUnreachableError)
    send(stack, (*after, *heartbeats(CLOSED_S)))

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
    stack.cancel()
