"""Which settings may hold passwords, by their names."""

import re
from typing import Final

_SECRET: Final = re.compile(r"password|secret|token|credential|jaas|(^|[._-])key($|[._-])", re.IGNORECASE)
_ABOUT: Final = (".location", ".provider", ".class", ".type")
"""What ends so says where a secret is, or how it is read."""


def is_secret(name: str) -> bool:
    """Whether a setting called `name` may hold a password or a key."""
    return _SECRET.search(name) is not None and not name.endswith(_ABOUT)
