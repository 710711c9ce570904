from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.parameters import Parameters
from serving.store import StoreError


@pytest.fixture
def make(tmp_path, fake):
    made = []

    def make(seed: int = fake.SEED) -> Parameters:
        if made:
            made[-1].close()
        made.append(Parameters(tmp_path / "state", fake.TABLES, seed, fake.INITIAL_DENSE))
        return made[-1]

    yield make
    made[-1].close()


def test_freezes_at_once_all_succeed_and_one_copy_is_left(make, tmp_path):
    parameters = make()
    with ThreadPoolExecutor(8) as pool:
        frozen = list(pool.map(lambda _: parameters.freeze(), range(40)))
    assert parameters.frozen in frozen
    assert len(list((tmp_path / "state" / "frozen").iterdir())) == 1
    assert make().frozen is not None


def test_whose_state_it_is_is_written_however_often_the_disk_refuses_it(make, monkeypatch):
    parameters = make()
    identify = parameters.store.identify

    def refuse(identity):
        monkeypatch.setattr(parameters.store, "identify", identify)
        raise StoreError("no space left")

    monkeypatch.setattr(parameters.store, "identify", refuse)
    with pytest.raises(StoreError):
        parameters.follow_topic("cluster/updates", {0: 9})
    parameters.follow_topic("cluster/updates", {0: 9})
    assert parameters.store.contents().identity["source"] == "cluster/updates"
