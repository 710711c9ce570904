"""A dead letter never fails: the producer takes it, and it says where its event stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.join.intake import Arrival
from pipelines.join.letters import MARGIN_BYTES, Letters
from pipelines.join.logic import DeadLetter
from tests.pipelines.join.jvm import JvmLetters

LIMIT_BYTES = 1 << 16
LENGTHS = st.none() | st.integers(0, 2 * LIMIT_BYTES) | st.integers(LIMIT_BYTES - 1500, LIMIT_BYTES + 10)


@pytest.fixture(scope="module", params=[Letters, JvmLetters])
def letters(job, request) -> Letters | JvmLetters:
    kafka = job.kafka.model_copy(update={"max_message_bytes": LIMIT_BYTES})
    return request.param(job.model_copy(update={"kafka": kafka}))


def write(letters, key, value, detail="why"):
    return letters.write(DeadLetter(Arrival(True, key, value, 3, 1 << 40, 0), "late", detail))


def test_a_letter_carries_its_event_and_where_it_stood(letters):
    assert write(letters, b"k", b"v") == (b"k", b"v", b"actions", b"3", b"1099511627776", b"late", b"why")


def test_a_value_that_is_too_long_is_left_out_and_its_length_said(letters):
    letter = write(letters, b"k", b"v" * LIMIT_BYTES)
    assert (letter.key, letter.value) == (b"k", None)
    assert letter.detail == b"why; value left out: 65536 bytes"
    assert (letter.partition, letter.offset) == (b"3", b"1099511627776")


def test_a_key_that_is_too_long_is_left_out_as_well(letters):
    letter = write(letters, b"k" * LIMIT_BYTES, b"v")
    assert (letter.key, letter.value) == (None, None)
    assert letter.detail == b"why; key and value left out: 65536 and 1 bytes"


def test_half_a_character_in_the_detail_does_not_fail_it(letters):
    assert write(letters, b"k", b"v", "\ud800").detail == b"?"


@given(LENGTHS, LENGTHS, LENGTHS)
def test_no_letter_is_longer_than_the_producer_takes(letters, key_bytes, value_bytes, detail_characters):
    key, value = (None if n is None else b"x" * n for n in (key_bytes, value_bytes))
    letter = write(letters, key, value, "é" * (detail_characters or 0))
    assert sum(len(part or b"") for part in letter) <= LIMIT_BYTES - MARGIN_BYTES
    if (key_bytes or 0) + (value_bytes or 0) < LIMIT_BYTES - MARGIN_BYTES - 1100:
        assert (letter.key, letter.value) == (key, value)
