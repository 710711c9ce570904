"""Shards in the process of a test, behind real sockets."""

from dataclasses import dataclass, field

from ps.metrics import ShardMetrics
from ps.service import ShardService
from ps.shard import Shard


@dataclass
class Served:
    """See `serve_shards`."""

    shards: list[Shard]
    services: list[ShardService]
    addresses: list[str]
    broken: list[int] = field(default_factory=list)

    def stop(self) -> None:
        for service in self.services:
            service.shutdown()
            # Arrow never lets go of a service; the shard and its native tables must not hang on it.
            vars(service).clear()

    def start(self, index: int) -> ShardService:
        shard = self.shards[index]
        actions = {
            "marks": lambda: {"epoch": self.services[index]._epoch, "marks": shard.marks()},
            "status": lambda: {"index": shard.index},
        }
        return ShardService(
            "grpc://127.0.0.1:0", shard, 100, ShardMetrics(shard), actions, lambda: self.broken.append(index)
        )

    def live_anew(self, index: int) -> None:
        """As if the shard had restarted with all it knew."""
        self.services[index]._epoch += 1


def serve_shards(shards: list[Shard]) -> Served:
    """Answer for `shards`, which are all that there are, in order; stop it."""
    served = Served(shards, [], [])
    served.services = [served.start(i) for i in range(len(shards))]
    served.addresses = [f"127.0.0.1:{service.port}" for service in served.services]
    return served
