"""Files of raw events: the order in which they are read, how far each moves event time, what is read."""

import base64
import bz2
import gzip
import time
import zlib

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.join.jvm import harness

FOREVER_MS = (1 << 63) - 1
NO_TIME = -(1 << 63)
NOW_MS = 1_764_000_000_000


@pytest.fixture
def files(make_job, tmp_path):
    """`files(format, from)`: what is read of the files in `tmp_path`, features of a job."""

    def read(form="json", begin=0):
        source = {"kind": "files", "features": "f", "actions": "a", "format": form}
        job = make_job(input=source)
        number = harness().call("job", settings=job.model_dump_json(by_alias=True))["job"]
        answer = harness().ask("files", job=number, folder=tmp_path.as_uri(), **{"from": begin})
        if "failure" in answer:
            raise OSError(answer["failure"])
        for file in answer["files"]:
            file["file"] = file["file"].removeprefix(f"file:{tmp_path}/")
            file["events"] = [
                [_text(path), *numbers, _text(value)] for path, *numbers, value in file["events"]
            ]
        return answer["files"]

    return read


def _text(data):
    return None if data is None else base64.b64decode(data).decode(errors="replace")


def event(ts_ms, **more):
    return orjson.dumps({"request_id": "r", "ts": ts_ms, "items": [{"item_id": 1}], **more})


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".deflate": zlib.compress}


def write(folder, name, *lines):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(PACKED.get(file.suffix, bytes)(b"\n".join(lines)))


def test_files_are_read_in_the_order_of_their_first_events_and_none_moves_time_beyond_the_next(
    files, tmp_path
):
    write(tmp_path, "p1/02.jsonl", event(NOW_MS + 300))
    write(tmp_path, "p0/01.jsonl", event(NOW_MS + 100), event(NOW_MS + 900))
    write(tmp_path, "p0/02.jsonl.gz", b"garbage", event(NOW_MS + 310))
    write(tmp_path, "p1/01.jsonl", event(NOW_MS + 90))
    found = files()
    assert [(file["file"], file["most"]) for file in found] == [
        ("p1/01.jsonl", NOW_MS + 100),
        ("p0/01.jsonl", NOW_MS + 300),
        ("p1/02.jsonl", NOW_MS + 310),
        ("p0/02.jsonl.gz", FOREVER_MS),
    ]


def test_a_file_in_which_no_time_is_found_is_begun_first_and_holds_nobody_up(files, tmp_path):
    write(tmp_path, "a.jsonl", event(NOW_MS))
    write(tmp_path, "b.jsonl", b"garbage", b'{"ts": 1.5}')
    write(tmp_path, "c.jsonl")
    assert [(file["file"], file["most"]) for file in files()] == [
        ("b.jsonl", NO_TIME),
        ("c.jsonl", NOW_MS),
        ("a.jsonl", FOREVER_MS),
    ]


def test_a_line_is_an_event_logged_at_its_own_time_and_known_by_file_and_number(files, tmp_path):
    lines = [event(NOW_MS), b"", b"{garbage", b" \t\r", event(NOW_MS + 5) + b"\r"]
    write(tmp_path, "a.jsonl", *lines)
    (file,) = files()
    path = f"file:{tmp_path}/a.jsonl"
    assert file["events"] == [
        [path, 0, 1, NOW_MS, NOW_MS, lines[0].decode()],
        [path, 0, 3, 0, NO_TIME, "{garbage"],
        [path, 0, 5, NOW_MS + 5, NOW_MS + 5, lines[4].decode()],
    ]


@pytest.mark.parametrize("suffix", PACKED)
def test_files_are_unpacked_as_their_names_say(files, tmp_path, suffix):
    write(tmp_path, f"a.jsonl{suffix}", *(event(NOW_MS + number) for number in range(3000)))
    (file,) = files()
    assert [row[4] for row in file["events"]] == [NOW_MS + number for number in range(3000)]


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_a_file_packed_in_parts_is_read_to_its_end(files, tmp_path, suffix):
    parts = [event(NOW_MS + number) + b"\n" for number in range(3)]
    (tmp_path / f"a.jsonl{suffix}").write_bytes(b"".join(PACKED[suffix](part) for part in parts))
    (file,) = files()
    assert [row[4] for row in file["events"]] == [NOW_MS + number for number in range(3)]


def test_reading_goes_on_behind_what_was_read_with_the_same_numbers(files, tmp_path):
    lines = [event(NOW_MS + number) if number % 3 else b"" for number in range(5000)]
    write(tmp_path, "a.jsonl", *lines)
    (whole,), (rest,) = files(), files(begin=1234)
    assert rest["events"] == whole["events"][1234:]
    assert len(whole["events"]) == sum(map(bool, lines))


def test_of_a_line_that_is_far_too_long_only_the_beginning_is_kept(files, tmp_path):
    write(tmp_path, "a.jsonl", b"x" * (40 << 20), event(NOW_MS))
    (file,) = files()
    assert [len(row[-1]) for row in file["events"]] == [(16 << 20) + 1, len(event(NOW_MS))]


def test_hidden_files_are_left_out(files, tmp_path):
    for name in ("_SUCCESS", ".part.jsonl", "_tmp/a.jsonl", ".x/a.jsonl"):
        write(tmp_path, name, event(NOW_MS))
    with pytest.raises(OSError, match="holds no files"):
        files()
    write(tmp_path, "a/b/c.jsonl", event(NOW_MS))
    assert [file["file"] for file in files()] == ["a/b/c.jsonl"]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_a_row_is_an_event_with_the_time_of_its_record(files, tmp_path, compression):
    rows = {
        "value": [event(NOW_MS).decode(), None, event(NOW_MS + 2).decode()],
        "other": [[1], [2, 3], None],
        "timestamp": pa.array([NOW_MS + 10, NOW_MS + 11, None], pa.timestamp("ms")),
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", compression=compression)
    (file,) = files("parquet")
    path = f"file:{tmp_path}/a.parquet"
    assert file["events"] == [
        [path, 0, 1, NOW_MS + 10, NOW_MS, rows["value"][0]],
        [path, 0, 2, NOW_MS + 11, NO_TIME, None],
        [path, 0, 3, NOW_MS + 2, NOW_MS + 2, rows["value"][2]],
    ]


@pytest.mark.parametrize("unit", ["ms", "us", "ns", None])
def test_a_row_may_say_where_it_was_in_kafka_in_numbers_of_any_kind(files, tmp_path, unit):
    factor = {"us": 1000, "ns": 1_000_000}.get(unit, 1)
    at = pa.array([(NOW_MS + 10) * factor], pa.timestamp(unit, tz="UTC") if unit else pa.int64())
    rows = {
        "value": [event(NOW_MS)],
        "partition": pa.array([3], pa.int32()),
        "offset": [1 << 40],
        "timestamp": at,
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    (file,) = files("parquet")
    assert file["events"] == [[None, 3, 1 << 40, NOW_MS + 10, NOW_MS, event(NOW_MS).decode()]]


def test_row_groups_are_read_one_after_the_other(files, tmp_path):
    values = [event(NOW_MS + number) for number in range(5000)]
    pq.write_table(pa.table({"value": values}), tmp_path / "a.parquet", row_group_size=700)
    (whole,), (rest,) = files("parquet"), files("parquet", begin=1500)
    assert [row[2] for row in whole["events"]] == [*range(1, 5001)]
    assert rest["events"] == whole["events"][1500:]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"event": [b"{}"]}, "has no column `value`"),
        ({"value": [1]}, "column `value` must be bytes or text"),
        ({"value": [b"{}"], "offset": ["1"]}, "column `offset` must be whole numbers"),
        ({"value": [[b"{}"]]}, "column `value` must be bytes or text"),
    ],
)
def test_a_file_with_other_columns_is_refused_by_name(files, tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(OSError, match=message) as refusal:
        files("parquet")
    assert f"{tmp_path}/a.parquet" in str(refusal.value)


def test_what_is_no_parquet_is_refused_by_name(files, tmp_path):
    write(tmp_path, "a.parquet", event(NOW_MS) * 9)
    with pytest.raises(OSError, match=r"a\.parquet can't be read"):
        files("parquet")


def test_a_file_damaged_in_what_was_read_is_refused_by_name_and_closed(files, tmp_path):
    write(tmp_path, "a.jsonl.gz", *(event(NOW_MS + number) for number in range(50_000)))
    packed = (tmp_path / "a.jsonl.gz").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(OSError, match=r"joiner\.input\.features: \S*a\.jsonl\.gz can't be read: .*EOF"):
        files(begin=49_999)
    assert not [path for path in harness().open_files() if path.is_relative_to(tmp_path)]


def test_a_time_ahead_of_the_clock_neither_moves_event_time_nor_orders_files(files, tmp_path):
    far_ms = time.time_ns() // 1_000_000 + 3_600_000
    write(tmp_path, "a.jsonl", event(far_ms), event(NOW_MS + 7))
    write(tmp_path, "b.jsonl", event(NOW_MS + 3))
    assert [(file["file"], file["most"]) for file in files()] == [
        ("b.jsonl", NOW_MS + 7),
        ("a.jsonl", FOREVER_MS),
    ]


def test_the_watermark_of_a_file_stays_behind_the_next_file():
    moments = [(0, 500, 700), (0,), (0, 900, 700), (200,), (200, 600, 700), (400,)]
    assert harness().call("watermarks", out_of_order=10, idle=1000, moments=moments)["output"] == [
        490,
        690,
        690,
    ]


def times(*steps):
    """Event time at watermarks, between ends of readers: (of actions, which, of how many, latest time)."""
    return harness().call("ends", out_of_order=10, steps=steps)["times"]


def test_an_input_that_has_ended_lets_no_window_close_beyond_its_last_event():
    assert times(500, [True, 0, 2, 300], 500, [True, 1, 2, 400], 350, 500) == [500, 500, 350, 390]


def test_at_the_end_of_both_inputs_time_is_that_of_the_one_that_ends_first():
    for ends in ([[True, 0, 1, 700], [False, 0, 1, 600]], [[False, 0, 1, 600], [True, 0, 1, 700]]):
        assert times(*ends, FOREVER_MS) == [590]


def test_an_input_without_any_time_says_nothing_of_time():
    assert times([True, 0, 1, NO_TIME], 500, [False, 0, 1, 600], FOREVER_MS) == [500, 590]


def test_a_job_that_is_drained_closes_nothing():
    assert times(FOREVER_MS, [True, 0, 1, 700], FOREVER_MS) == [NO_TIME, NO_TIME]


def test_after_a_restart_readers_of_an_input_that_is_not_over_end_again():
    before = [True, 0, 2, 300], None
    assert times(*before, [True, 1, 2, 200], 500, [True, 0, 2, NO_TIME], 500) == [500, 290]
    assert times([True, 0, 1, 300], None, 500) == [290]


def test_files_that_come_back_from_several_readers_are_read_in_their_order():
    ids = ["000000006", "000000009", "000000005"]
    assert harness().ask("splits", splits=ids)["read"] == sorted(ids)
