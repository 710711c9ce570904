"""A dead letter as a message that the producer takes, whatever it is about."""

from typing import Final, NamedTuple

from pipelines.join.logic import DeadLetter
from pipelines.settings import JoinJob

MARGIN_BYTES: Final = 1024
"""What a message takes beside key, value and headers, and the names of the headers."""
DETAIL_CHARACTERS: Final = 500
"""A sentence that quotes its event can be as long as that."""


class Letter(NamedTuple):
    """Key, value and headers of a message of `dead-letters`, in the order of the operator's output."""

    key: bytes | None
    value: bytes | None
    topic: bytes
    partition: bytes
    offset: bytes
    reason: bytes
    detail: bytes


class Letters:
    """Writes dead letters.

    The broker counts compressed bytes, the producer of a letter plain ones, and a letter is longer than its
    event by the headers: so an event that the broker took can be too long for its letter. It is left out
    then, since the headers say where it stands; a letter that failed would fail at every restart.
    """

    def __init__(self, job: JoinJob) -> None:
        self._topics = (job.kafka.topics.features.encode(), job.kafka.topics.actions.encode())
        self._max_bytes = job.kafka.max_message_bytes - MARGIN_BYTES

    def write(self, letter: DeadLetter) -> Letter:
        """The letter; without its value, or without key and value, where they are too long."""
        arrival = letter.arrival
        headers = (
            self._topics[arrival.is_action],
            str(arrival.partition).encode(),
            str(arrival.offset).encode(),
            letter.reason.encode(),
        )
        # A lone surrogate in what the sentence quotes must not fail the job.
        detail = letter.detail[:DETAIL_CHARACTERS].encode(errors="replace")
        key_bytes, value_bytes = len(arrival.key or b""), len(arrival.value or b"")
        room_bytes = self._max_bytes - sum(map(len, headers)) - len(detail)
        if key_bytes + value_bytes <= room_bytes:
            return Letter(arrival.key, arrival.value, *headers, detail)
        size = f"; key and value left out: {key_bytes} and {value_bytes} bytes".encode()
        key = arrival.key if key_bytes + len(size) <= room_bytes else None
        if key is not None:
            size = f"; value left out: {value_bytes} bytes".encode()
        return Letter(key, None, *headers, detail + size)
