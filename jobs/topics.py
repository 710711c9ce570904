"""Reads a whole topic as it stands, for those who check a run afterwards."""

import time
import uuid
from collections.abc import Iterator, Mapping

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from jobs.spec import Job
from pipelines.settings import member_name

CONNECT_S = 30.0
LOOK_S = 2.0
"""Those who look again and again give up sooner: meanwhile somebody has to start a broker that died."""
BATCH, WAIT_S = 10_000, 0.05
_COORDINATOR_MOVES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)
SILENCE_S = 30.0
"""A broker that sends nothing for so long, though the end is not reached, is taken for lost."""


def partitions_of(client: Consumer | Producer, topic: str, patience_s: float = CONNECT_S) -> list[int]:
    """The numbers of a topic's partitions; raises KafkaException when it does not exist."""
    metadata = client.list_topics(topic, timeout=patience_s).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return sorted(metadata.partitions)


class JoinerOffsets:
    """Follows how far the joiner has read a topic, without being a member of its group.

    Raises KafkaException when the broker does not answer for `patience_s`.
    """

    def __init__(self, job: Job, topic: str, patience_s: float = CONNECT_S) -> None:
        self._patience_s = patience_s
        self._consumer = Consumer({**_settings(job), "group.id": member_name(job.name, job.joiner)})
        partitions = partitions_of(self._consumer, topic, patience_s)
        self._partitions = [TopicPartition(topic, number) for number in partitions]

    def read(self) -> dict[int, int]:
        """The next offset by partition, as last committed; partitions without a commit are left out."""
        deadline_s = time.monotonic() + self._patience_s
        while True:
            try:
                found = self._consumer.committed(self._partitions, timeout=self._patience_s)
                break
            except KafkaException as error:
                # A broker that has just started, or a group that is new: it is asked again.
                if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > deadline_s:
                    raise
                time.sleep(WAIT_S)
        return {each.partition: each.offset for each in found if each.offset >= 0}

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def _settings(job: Job) -> dict[str, object]:
    return {
        **job.kafka.client,
        "bootstrap.servers": job.kafka.bootstrap,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        # The end is told with an empty answer, which the broker otherwise delays for half a second.
        "fetch.wait.max.ms": 20,
    }


def ends_of(job: Job, topic: str) -> tuple[int, ...]:
    """By partition, the offset behind the last committed message. Raises KafkaException."""
    consumer = Consumer({**_settings(job), "group.id": f"freshet-ends-{uuid.uuid4().hex}"})
    try:
        places = [TopicPartition(topic, number) for number in partitions_of(consumer, topic)]
        return tuple(consumer.get_watermark_offsets(place, timeout=CONNECT_S)[1] for place in places)
    finally:
        consumer.close()


def read_topic(job: Job, topic: str) -> Iterator[Message]:
    """Every committed message from the first to the present end, partition by partition in order of offset.

    Messages of open or aborted transactions are left out. Raises KafkaException when the topic does not exist
    or the broker falls silent.
    """
    consumer = Consumer({**_settings(job), "group.id": f"freshet-summary-{uuid.uuid4().hex}"})
    try:
        partitions = partitions_of(consumer, topic)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        yield from _until_end(consumer, set(partitions))
    finally:
        consumer.close()


def ends_at(job: Job, topic: str, offsets: Mapping[int, int]) -> bool:
    """Whether no committed message stands at or after `offsets`, by partition; one left out: its beginning.

    Offsets alone can't tell: the marks that end transactions take some as well. Raises KafkaException when
    the broker does not answer within a few seconds.
    """
    consumer = Consumer({**_settings(job), "group.id": f"freshet-drain-{uuid.uuid4().hex}"})
    try:
        partitions = partitions_of(consumer, topic, LOOK_S)
        places = [
            TopicPartition(topic, number, offsets.get(number, OFFSET_BEGINNING)) for number in partitions
        ]
        consumer.assign(places)
        return next(_until_end(consumer, set(partitions), LOOK_S), None) is None
    finally:
        consumer.close()


def _until_end(consumer: Consumer, unfinished: set[int], silence_s: float = SILENCE_S) -> Iterator[Message]:
    heard_s = time.monotonic()
    while unfinished:
        messages = consumer.consume(BATCH, timeout=WAIT_S)
        if messages:
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > silence_s:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for message in messages:
            error = message.error()
            # What comes after the end was seen belongs to a later summary.
            if error is None and message.partition() in unfinished:
                yield message
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(message.partition())
            elif error is not None:
                raise KafkaException(error)
