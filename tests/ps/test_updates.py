import re
from dataclasses import replace
from pathlib import Path

import crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ps.updates import MAX_UPDATE_BYTES, DenseReference, Position, Sample, Update, UpdateError, decode, encode
from ps.updates_pb2 import TableUpdate, UpdateBatch

GOLDEN = Path(__file__).parents[1] / "golden" / "update_v1.bin"
COMPLETE = GOLDEN.with_name("update_complete_v1.bin")
EXAMPLE = Update(
    shard=1,
    shards=2,
    epoch=1764000000000,
    sequence=3,
    rows={"user": (np.array([7, -1]), np.array([[1, 2, 3], [0.5, -0.25, 0]], np.float32))},
    deleted={"user": np.array([9]), "item": np.array([-(2**63)])},
    marks={0: 120, 1: 80},
    samples=(Sample(0, 119, 1763999999000),),
    dense=DenseReference("file:///run/dense/shard-1/1764000000000.parquet", 1764000000000, "ab" * 32),
    published_ms=1764000001000,
    life=1763999990000,
    after=Position(1763999990000, 12),
)


def plain(update: Update) -> object:
    return (
        {name: (ids.tolist(), rows.shape, rows.tolist()) for name, (ids, rows) in update.rows.items()},
        {name: ids.tolist() for name, ids in update.deleted.items()},
        dict(update.marks),
        [getattr(update, n) for n in ("shard", "shards", "epoch", "sequence", "samples", "dense", "after")],
        (update.published_ms, update.life, update.complete),
    )


def test_version_1_is_written_and_read_as_ever():
    assert encode(EXAMPLE) == GOLDEN.read_bytes()
    assert plain(decode(GOLDEN.read_bytes())) == plain(EXAMPLE)


def test_the_message_that_completes_a_life_says_so_and_older_ones_do_not():
    complete = replace(EXAMPLE, complete=True)
    assert encode(complete) == COMPLETE.read_bytes()
    assert plain(decode(COMPLETE.read_bytes())) == plain(complete)
    assert not decode(GOLDEN.read_bytes()).complete


int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def updates(draw: st.DrawFn) -> Update:
    names = st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable())
    rows = {}
    for name in draw(st.sets(names, max_size=3)):
        n, dim = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        ids = draw(hnp.arrays(np.int64, n, elements=int64s))
        rows[name] = (ids, draw(hnp.arrays(np.float32, (n, dim), elements=floats)))
    gone = hnp.arrays(np.int64, st.integers(1, 4), elements=int64s)
    position = st.integers(0, 2**63 - 1)
    life, epoch = sorted([draw(st.integers(1, 2**63)), draw(st.integers(1, 2**63))])
    earlier = st.builds(Position, st.integers(life, max(life, epoch - 1)), st.integers(1, 2**63))
    return Update(
        shard=draw(st.integers(0, 3)),
        shards=4,
        epoch=epoch,
        sequence=draw(st.integers(1, 2**63)),
        rows=rows,
        deleted=draw(st.dictionaries(names, gone, max_size=2)),
        marks=draw(st.dictionaries(st.integers(0, 2**31 - 1), position, max_size=3)),
        samples=tuple(draw(st.lists(st.builds(Sample, st.integers(0, 99), position, int64s), max_size=3))),
        dense=draw(st.none() | st.builds(DenseReference, names, position, names)),
        published_ms=draw(int64s),
        life=life,
        after=Position() if life == epoch else draw(st.just(Position()) | earlier),
        complete=draw(st.booleans()),
    )


@given(updates())
def test_an_update_arrives_as_it_was_sent(update):
    assert plain(decode(encode(update))) == plain(update)


@given(st.integers(0, len(encode(EXAMPLE)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at, change):
    data = bytearray(encode(EXAMPLE))
    data[at] ^= change
    with pytest.raises(UpdateError):
        decode(bytes(data))


@given(st.integers(0, len(encode(EXAMPLE)) - 1))
def test_a_message_cut_short_is_noticed(length):
    with pytest.raises(UpdateError):
        decode(encode(EXAMPLE)[:length])


@given(st.binary(max_size=300))
def test_garbage_is_refused(data):
    with pytest.raises(UpdateError):
        decode(data)


@given(st.binary(max_size=300))
def test_garbage_with_a_right_checksum_is_refused_or_sound(body):
    data = body + b"\x7d" + crc32c.crc32c(body).to_bytes(4, "little")
    try:
        update = decode(data)
    except UpdateError:
        return
    assert plain(decode(encode(update))) == plain(update)


ROW = {"table": "t", "dim": 1, "ids": b"\0" * 8, "rows": b"\0" * 4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shard": 2}, "shard 2 of 2 can't be"),
        ({"shards": 1025}, "shard 1 of 1025 can't be"),
        ({"epoch": 0}, "both start at 1"),
        ({"sequence": 0}, "both start at 1"),
        ({"life": 0}, "the life began at epoch 0, which can't be"),
        ({"life": 6}, "the life began at epoch 6, which can't be"),
        ({"after": {"epoch": 5, "sequence": 1}}, "it can't follow epoch 5, sequence 1 of life 4"),
        ({"after": {"epoch": 3, "sequence": 1}}, "it can't follow epoch 3, sequence 1 of life 4"),
        ({"after": {"epoch": 4}}, "it can't follow epoch 4, sequence 0 of life 4"),
        ({"tables": [TableUpdate(**ROW), TableUpdate(**ROW)]}, "a table comes twice"),
        ({"tables": [TableUpdate(**ROW | {"table": ""})]}, "a table needs a name"),
        ({"tables": [TableUpdate(**ROW | {"ids": b"\0" * 9})]}, "ids are not 8 bytes each"),
        ({"tables": [TableUpdate(table="t", deleted=b"\0" * 7)]}, "ids are not 8 bytes each"),
        ({"tables": [TableUpdate(**ROW | {"dim": 2})]}, "4 bytes of rows do not fit 1 ids of dim 2"),
        ({"tables": [TableUpdate(table="t", ids=b"\0" * 8)]}, "0 bytes of rows do not fit 1 ids of dim 0"),
        ({"tables": [TableUpdate(**ROW | {"rows": b"\0\0\xc0\x7f"})]}, "a row holds NaN"),
    ],
)
def test_a_whole_message_that_makes_no_sense_is_refused(fields, message):
    sound = {"shard": 1, "shards": 2, "epoch": 5, "sequence": 1, "life": 4}
    body = UpdateBatch(**sound | fields).SerializeToString()
    with pytest.raises(UpdateError, match=re.escape(message)):
        decode(body + b"\x7d" + crc32c.crc32c(body).to_bytes(4, "little"))


def test_a_message_that_is_too_long_is_refused_unread():
    with pytest.raises(UpdateError, match="bytes, 6 to"):
        decode(bytes(MAX_UPDATE_BYTES + 1))


def test_any_protobuf_reader_reads_it():
    assert UpdateBatch.FromString(encode(EXAMPLE)).checksum == crc32c.crc32c(encode(EXAMPLE)[:-5])
