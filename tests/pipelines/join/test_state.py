"""State bytes outlive the code that wrote them."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.join.state import (
    Closed,
    Early,
    EarlyAction,
    StateError,
    Taken,
    Waiting,
    decode,
    encode,
    label_id,
)

GOLDEN = Path(__file__).parents[2] / "golden"
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
UINT32 = st.integers(0, (1 << 32) - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
TAKEN = st.builds(Taken, st.booleans(), FLOAT32, INT64, INT64)
STATES = st.one_of(
    st.builds(
        Waiting,
        ts_ms=INT64,
        closed_through_ms=INT64,
        value=st.binary(),
        taken=st.dictionaries(st.tuples(UINT32, UINT32), TAKEN, max_size=5),
    ),
    st.builds(
        Closed,
        ts_ms=INT64,
        taken=st.frozensets(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), UINT32), max_size=5),
    ),
    st.builds(
        Early,
        st.lists(
            st.builds(
                EarlyAction,
                key=st.none() | st.binary(),
                value=st.binary(),
                partition=UINT32,
                offset=INT64,
                logged_ts_ms=INT64,
            ),
            max_size=4,
        ).map(tuple),
    ),
)
OF_VERSION_2 = {
    "waiting": Waiting(
        1_764_000_000_000,
        1_764_000_003_000,
        b'{"request_id":"r","ts":1764000000000,"items":[{"item_id":1},{"item_id":"b"}]}',
        {
            (1, label_id("click")): Taken(True, 1.0, 1_764_000_000_900, 1_764_000_001_000),
            (0, label_id("watched")): Taken(False, -2.5, 1_764_000_002_000, 1_764_000_002_005),
        },
    ),
    "closed": Closed(1_764_000_000_000, frozenset({("b", label_id("click")), ("1", label_id("buy"))})),
    "early": Early(
        (
            EarlyAction(b"r", b'{"request_id":"r"}', 1, 1 << 40, 1_764_000_001_000),
            EarlyAction(None, b"{}", 0, 0, -1),
        )
    ),
}


OF_VERSION_1 = OF_VERSION_2 | {
    "waiting": replace(
        OF_VERSION_2["waiting"],
        taken=dict.fromkeys([(1, label_id("click")), (0, label_id("buy"))], Taken(True, 1.0, 0, 0)),
    )
}


@given(STATES)
def test_what_is_written_is_read(state):
    assert decode(encode(state)) == state


@pytest.mark.parametrize("name", OF_VERSION_2)
def test_bytes_of_version_2_stay_as_they_are(name):
    data = (GOLDEN / f"join_state_{name}_v2.bin").read_bytes()
    assert encode(OF_VERSION_2[name]) == data
    assert decode(data) == OF_VERSION_2[name]


@pytest.mark.parametrize("name", OF_VERSION_1)
def test_bytes_of_version_1_are_read_and_written_as_version_2(name):
    state = decode((GOLDEN / f"join_state_{name}_v1.bin").read_bytes())
    assert state == OF_VERSION_1[name]
    assert encode(state)[0] == 2
    assert decode(encode(state)) == state


def test_label_ids_stay_as_they_are():
    assert label_id("click") == 0xBAF6C220


@given(st.binary())
def test_other_bytes_are_refused(data):
    try:
        state = decode(data)
    except StateError:
        return
    assert decode(encode(state)) == state


@pytest.mark.parametrize("name", ["waiting", "early"])
def test_a_state_cut_short_is_refused(name):
    data = encode(OF_VERSION_2[name])
    for length in (0, 1, 5, len(data) - 1):
        with pytest.raises(StateError):
            decode(data[:length])


def test_another_version_is_refused_by_its_number():
    with pytest.raises(StateError, match="version 3"):
        decode(b"\x03W")


@pytest.mark.parametrize("rest", [struct.pack("<Bf", 2, 1.0), struct.pack("<Bf", 1, float("nan"))])
def test_a_label_in_no_stage_or_without_a_number_is_refused(rest):
    data = encode(Waiting(0, 0, b"")) + struct.pack("<II", 0, 7) + rest + bytes(16)
    with pytest.raises(StateError, match="not a state"):
        decode(data)


def test_a_waiting_request_costs_little_more_than_its_event():
    state = OF_VERSION_2["waiting"]
    assert len(encode(Waiting(state.ts_ms, state.ts_ms, state.value))) - len(state.value) == 22
