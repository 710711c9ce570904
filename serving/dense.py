"""The dense tensors that serving computes with: versions by reference, checked, swapped in one step."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ps.arrays import Float32
from ps.tensor_files import read_dense
from ps.updates import DenseReference, UpdateError

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DenseVersion:
    """All dense tensors of the model; never changed, only replaced."""

    tensors: Mapping[str, Float32]
    version: int | None
    """The oldest of the versions that the shards' parts have; None: the model's initial values."""


class Dense:
    """Puts the shards' parts together. Readers take `current` at any time; writers hold a lock."""

    def __init__(self, initial: Mapping[str, Float32]) -> None:
        """`initial`: every tensor of the model, as it is before the first version."""
        self._initial = initial
        self._parts: dict[int, tuple[int, Mapping[str, Float32]]] = {}
        self.current = DenseVersion(initial, None)

    def check(self, tensors: Mapping[str, Float32]) -> None:
        """Raise UpdateError unless each of `tensors` is one of the model's, in shape, and finite."""
        for name, tensor in tensors.items():
            if name not in self._initial:
                raise UpdateError(
                    f"dense tensor {name!r} is none of this model's: did the `model` block change?"
                )
            wanted = list(self._initial[name].shape)
            if list(tensor.shape) != wanted:
                raise UpdateError(
                    f"dense tensor {name!r} has shape {list(tensor.shape)}, the model's {wanted}"
                )
            if not np.isfinite(tensor).all():
                raise UpdateError(f"dense tensor {name!r} holds NaN or an infinite value")

    def replace(self, shard: int, version: int, tensors: Mapping[str, Float32]) -> None:
        """Take one shard's part; `current` changes once every tensor has come."""
        self._parts[shard] = (version, tensors)
        if not self.missing():
            found = {name: tensor for _, part in self._by_age() for name, tensor in part.items()}
            oldest = min(version for version, part in self._parts.values() if part)
            self.current = DenseVersion(found, oldest)

    def missing(self) -> list[str]:
        """Tensors that no shard has sent yet."""
        sent = {name for _, part in self._parts.values() for name in part}
        return sorted(set(self._initial) - sent)

    def versions(self) -> dict[int, int]:
        """The version of each shard's part."""
        return {shard: version for shard, (version, _) in self._parts.items()}

    def _by_age(self) -> list[tuple[int, Mapping[str, Float32]]]:
        return sorted(self._parts.values(), key=lambda part: part[0])


class DenseLoader(threading.Thread):
    """Reads the files that references point at, beside everything else; only the newest of a shard counts."""

    def __init__(self, loaded: Callable[[int, DenseReference, Mapping[str, Float32]], None]) -> None:
        """`loaded(shard, reference, tensors)` raises UpdateError for tensors that it refuses."""
        super().__init__(name="dense", daemon=True)
        self._loaded = loaded
        self._wanted: dict[int, DenseReference] = {}
        self._change = threading.Condition()
        self._stopped = False
        self.failures = 0
        self.last_error: str | None = None

    def want(self, shard: int, reference: DenseReference) -> None:
        """Read this one next, in place of any older one of the shard."""
        with self._change:
            self._wanted[shard] = reference
            self._change.notify()

    def stop(self) -> None:
        """End the thread after the file it reads now."""
        with self._change:
            self._stopped = True
            self._change.notify()
        self.join()

    def run(self) -> None:
        """Read what is wanted; what fails is tried again until something newer is wanted."""
        wait_s = _FIRST_WAIT_S
        while True:
            with self._change:
                self._change.wait_for(lambda: self._wanted or self._stopped)
                if self._stopped:
                    return
                wanted = dict(self._wanted)
            done = [self._try(shard, reference) for shard, reference in wanted.items()]
            if all(done):
                wait_s = _FIRST_WAIT_S
            else:
                self._pause(wait_s, wanted)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _try(self, shard: int, reference: DenseReference) -> bool:
        try:
            self._loaded(shard, reference, read_dense(reference))
        # Whatever is wrong with one file, or the store, must not end the thread: the next version may do.
        except Exception as error:
            self.failures += 1
            self.last_error = f"shard {shard}, dense version {reference.version}: {error}"
            _log.warning("%s", self.last_error)
            return False
        self.last_error = None
        with self._change:
            if self._wanted.get(shard) is reference:
                del self._wanted[shard]
        return True

    def _pause(self, seconds: float, tried: Mapping[int, DenseReference]) -> None:
        """Wait before the next try; less if something new is wanted."""
        with self._change:
            self._change.wait_for(lambda: self._stopped or self._wanted != tried, timeout=seconds)
