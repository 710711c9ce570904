from collections.abc import Callable

import pytest

from jobs.spec import Job
from jobs.traffic.paths import BadPathError
from jobs.traffic.tables import Needs


@pytest.fixture
def needs(make_job: Callable[..., Job]) -> Callable[[dict], Needs]:
    def make(features: dict) -> Needs:
        job = make_job({"kind": "none"}).model_dump(by_alias=True)
        return Needs(Job.model_validate({**job, "schema": {**job["schema"], "features": features}}), "item")

    return make


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", 3, 3),
        ("int", 3.0, 3),
        ("int", "9155697141123456789", 9155697141123456789),
        ("int", "39.0", 39),
        ("float", 3, 3.0),
        ("float", "2.5", 2.5),
        ("string", 3, "3"),
    ],
)
def test_a_value_becomes_what_the_schema_says(
    needs: Callable[[dict], Needs], kind: str, value: object, expected: object
) -> None:
    cast = needs({"it": {"from": "item.key", "type": kind}}).cast("key", value)
    assert (cast, type(cast)) == (expected, type(expected))


@pytest.mark.parametrize("value", ["many", "2.5", float("inf"), float("nan")])
def test_what_is_no_whole_number_is_refused(needs: Callable[[dict], Needs], value: object) -> None:
    with pytest.raises(BadPathError, match="column key holds"):
        needs({"it": {"from": "item.key"}}).cast("key", value)


def test_a_list_is_split_at_commas(needs: Callable[[dict], Needs]) -> None:
    many = needs({"it": {"from": "item.tag", "many": True}})
    assert many.pick({"tag": "1,39", "other": 1}) == {"tag": [1, 39]}
    assert many.pick({"tag": 7}) == {"tag": [7]}
    assert many.pick({"tag": None}) == {}
