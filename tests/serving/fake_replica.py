"""A replica process with a model of one line: sigmoid(user's row + item's row + bias)."""

import sys
from pathlib import Path

import numpy as np

from pipelines.schema import ExampleSchema
from ps.settings import InitializerSettings, TableSettings
from serving.parameters import Parameters
from serving.replica import UpdatesSource, serve
from serving.settings import ServingSettings

SCHEMA = ExampleSchema.model_validate(
    {
        "features": {
            "user_id": {"from": "user.user_id"},
            "item_id": {"from": "item.item_id"},
            "tags": {"from": "item.tags", "type": "string", "many": True},
            "price": {"from": "item.price", "type": "float"},
        },
        "labels": {"click": {"action": "click"}},
    }
)
TABLES = {
    name: TableSettings(dim=1, initializer=InitializerSettings(kind="zeros"))
    for name in ("user_id", "item_id")
}
INITIAL_DENSE = {"bias": np.zeros(1, np.float32)}
SEED = 1
MAX_BODY_BYTES = 4096


class FakeScorer:
    """A `serving.scoring.RequestScorer`."""

    def ids(self, requests):
        users = [r["user"]["user_id"] for r in requests]
        items = [item["item_id"] for r in requests for item in r["items"]]
        return {"user_id": np.unique(users), "item_id": np.unique(items)}

    def score(self, requests, rows, dense):
        ids = self.ids(requests)
        pairs = [(r["user"]["user_id"], item["item_id"]) for r in requests for item in r["items"]]
        users, items = np.array(pairs).T
        logit = rows["user_id"][np.searchsorted(ids["user_id"], users), 0]
        logit = logit + rows["item_id"][np.searchsorted(ids["item_id"], items), 0] + dense["bias"]
        return {"click": (1 / (1 + np.exp(-logit))).astype(np.float32)}


def main(state_dir: str, bootstrap: str, topic: str, address: str) -> None:
    parameters = Parameters(Path(state_dir), TABLES, SEED, INITIAL_DENSE)
    settings = ServingSettings(max_batch_items=16, max_body_bytes=MAX_BODY_BYTES)
    source = UpdatesSource(bootstrap, {}, topic, 2)
    serve(0, address, SCHEMA, FakeScorer(), parameters, source, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
