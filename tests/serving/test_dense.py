import threading

import numpy as np
import pytest

from ps.dense_files import DenseFiles
from ps.updates import DenseReference, UpdateError
from serving.dense import Dense, DenseLoader


def tensor(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


@pytest.fixture
def dense() -> Dense:
    return Dense({"a": tensor(0, 2), "b": tensor(0, 3)})


def values(dense: Dense) -> dict[str, float]:
    return {name: float(t[0]) for name, t in dense.current.tensors.items()}


def test_initial_values_serve_until_every_tensor_has_come(dense):
    dense.replace(0, 17, {"a": tensor(1, 2)})
    assert dense.current.version is None
    assert values(dense) == {"a": 0, "b": 0}
    assert dense.missing() == ["b"]
    dense.replace(1, 15, {"b": tensor(2, 3)})
    assert dense.current.version == 15
    assert values(dense) == {"a": 1, "b": 2}


def test_a_new_version_of_one_shard_replaces_its_part_in_one_step(dense):
    dense.replace(0, 1, {"a": tensor(1, 2)})
    dense.replace(1, 2, {"b": tensor(2, 3)})
    before = dense.current
    dense.replace(0, 3, {"a": tensor(3, 2)})
    assert values(dense) == {"a": 3, "b": 2}
    assert dense.current.version == 2
    assert before.tensors["a"][0] == 1


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"c": tensor(1, 2)}, "'c' is none of this model's"),
        ({"a": tensor(1, 3)}, r"'a' has shape \[3\], the model's \[2\]"),
        ({"a": tensor(np.nan, 2)}, "NaN"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(dense, tensors, complaint):
    with pytest.raises(UpdateError, match=complaint):
        dense.check(tensors)


@pytest.fixture
def loader():
    loaded, changed = [], threading.Condition()

    def take(shard, reference, tensors):
        with changed:
            loaded.append((shard, reference.version, float(tensors["a"][0])))
            changed.notify()

    loader = DenseLoader(take)
    loader.start()
    loader.loaded, loader.changed = loaded, changed
    yield loader
    loader.stop()


def wait_loaded(loader: DenseLoader, count: int) -> list[tuple[int, int, float]]:
    with loader.changed:
        assert loader.changed.wait_for(lambda: len(loader.loaded) >= count, timeout=10)
    return loader.loaded


def test_files_are_read_by_reference(loader, tmp_path):
    files = [DenseFiles(tmp_path.as_uri(), shard) for shard in range(2)]
    for shard, file in enumerate(files):
        loader.want(shard, file.write({"a": tensor(shard, 2)}))
    assert sorted((shard, value) for shard, _, value in wait_loaded(loader, 2)) == [(0, 0), (1, 1)]


def test_a_damaged_or_missing_file_is_told_and_the_next_version_is_read(loader, tmp_path, until):
    reference = DenseFiles(tmp_path.as_uri(), 0).write({"a": tensor(1, 2)})
    loader.want(0, DenseReference(reference.url, reference.version - 2, "0" * 64))
    until(lambda: "the checksum is wrong" in (loader.last_error or ""), "the damage is told")
    loader.want(0, DenseReference(f"{reference.url}-not", reference.version - 1, reference.sha256))
    until(lambda: f"version {reference.version - 1}" in (loader.last_error or ""), "the loss is told")
    loader.want(0, reference)
    assert wait_loaded(loader, 1) == [(0, reference.version, 1.0)]
    until(lambda: loader.last_error is None, "the error is over")
    assert loader.failures >= 2
