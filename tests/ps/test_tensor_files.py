import numpy as np
import pytest

from ps.tensor_files import absolute_url, filesystem, read_dense, read_tensors, sha256_of, write_tensors
from ps.updates import DenseReference, UpdateError

TENSORS = {
    "dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(-0.0, np.float32),
    "empty": np.empty((0, 4), np.float32),
}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "a b%20" / "1.parquet"
    path.parent.mkdir()
    files, place = filesystem(str(path))
    write_tensors(files, place, TENSORS)
    return path, DenseReference(path.as_uri(), 1, sha256_of(files, place))


def test_tensors_are_read_as_they_were_written(stored):
    path, reference = stored
    for read in (read_dense(reference), read_tensors(*filesystem(str(path)))):
        assert {name: (t.shape, t.tobytes()) for name, t in read.items()} == {
            name: (t.shape, t.tobytes()) for name, t in TENSORS.items()
        }


def test_a_damaged_file_is_refused(stored):
    path, reference = stored
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UpdateError, match=r"1\.parquet: the checksum is wrong"):
        read_dense(reference)


def test_a_file_that_is_gone_is_told_apart(stored):
    path, reference = stored
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_dense(reference)


def test_what_follows_the_path_of_a_url_stays_behind_it():
    assert absolute_url("s3://b/runs/?region=x", "dense", "1") == "s3://b/runs/dense/1?region=x"
    assert absolute_url("/tmp/a b", "c") == "file:///tmp/a%20b/c"
