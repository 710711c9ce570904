"""The end of a job with a savepoint, from which it can go on: `freshet stop`, and the end of a run."""

import time

from jobs.stack.rest import FlinkRest, SavepointError, has_ended

_LOOK_S = 0.1


class Stopping:
    """A job that was told to stop. Raises FlinkUnreachableError, also when it refuses."""

    def __init__(self, rest: FlinkRest, job_id: str, state_url: str | None, *, drain: bool = False) -> None:
        self._rest, self.job_id = rest, job_id
        self._request = rest.stop(job_id, f"{state_url}/savepoints" if state_url else None, drain=drain)

    def wait(self, patience_s: float) -> str:
        """The path of the savepoint, when it is whole and the job has ended.

        Raises SavepointError when it failed, or is not done after `patience_s` (Flink then goes on with it).
        """
        deadline_s = time.monotonic() + patience_s
        while (path := self._rest.savepoint(self.job_id, self._request)) is None or self._is_alive():
            if time.monotonic() > deadline_s:
                raise SavepointError(f"it was not done after {patience_s:g} s")
            time.sleep(_LOOK_S)
        return path

    def _is_alive(self) -> bool:
        job = self._rest.job(self.job_id)
        return job is not None and not has_ended(job)
