"""The `serving` block of a job file."""

from pydantic import Field

from ps.settings import Block, RowFormat


class ServingSettings(Block):
    """How many replicas answer `POST /v1/predict`, and where."""

    replicas: int = Field(default=1, ge=1)
    addresses: tuple[str, ...] = ()
    """host:port of every replica; empty: the embedded stack picks free ports."""
    rows: RowFormat = "float32"
    """How replicas keep rows in memory: float16 takes half of it, int8 a quarter (`docs/table.md`)."""
    max_batch_items: int = Field(default=4096, ge=1)
    """Requests that arrive together are scored together, up to so many items."""
    max_body_bytes: int = Field(default=1 << 20, ge=1024)
