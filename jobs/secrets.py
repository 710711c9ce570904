"""Which settings may hold passwords, by their names."""

import re
from typing import Final

_SECRET: Final = re.compile(r"password|secret|token|credential|jaas|(^|[._-])key($|[._-])", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a setting called `name` may hold a password or a key."""
    return _SECRET.search(name) is not None
