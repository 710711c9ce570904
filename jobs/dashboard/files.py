"""The two kinds of file the page shows: the job file, without its secrets, and the ends of logs."""

import io
import re
from pathlib import Path
from typing import Any, Final

from jobs.secrets import is_secret
from jobs.spec import Job

TAIL_BYTES: Final = 64 << 10
TAIL_LINES: Final = 300
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_SECRET_IN_URL: Final = re.compile(r"(//)[^/@\s]+@")
_MASK: Final = "********"


def job_text(job: Job) -> str:
    """What the job file sets, as YAML; passwords and keys are masked."""
    from ruamel.yaml import YAML

    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style = None
    yaml.width = 110
    yaml.dump(_masked(job.model_dump(mode="json", by_alias=True, exclude_unset=True)), text)
    return text.getvalue()


def log_tail(run_dir: Path, name: str) -> str | None:
    """The last lines of RUN/logs/NAME.log; None when there is no such log."""
    if not _NAME.fullmatch(name):
        return None
    logs = (run_dir / "logs").resolve()
    path = (logs / f"{name}.log").resolve()
    # A link that leads out of the directory is not followed.
    if path.parent != logs or not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
    whole = lines[1:] if size > TAIL_BYTES else lines
    return "\n".join(whole[-TAIL_LINES:])


def _masked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _masked(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, key) for each in value]
    if isinstance(value, str):
        return _MASK if is_secret(key) else _SECRET_IN_URL.sub(rf"\1{_MASK}@", value)
    return value
