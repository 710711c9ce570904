"""One client's connection to one shard: streams opened as needed, dropped when broken, and timed."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import orjson
import pyarrow as pa
from pyarrow import flight
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from ps import wire
from ps.push import PushRefused
from ps.service import EMPTY_SCHEMA

_WATCH_INTERVAL_S: Final = 0.2
_CHANNEL_OPTIONS: Final = [("grpc.max_receive_message_length", wire.MAX_FRAME_BYTES + (1 << 20))]
_LOST: Final = (pa.ArrowException, OSError)

Request = Callable[[int], wire.Bytes]
"""Makes the frame of a request, given the life (epoch) of the shard that it is meant for."""
Answer = tuple[wire.Header, wire.Body]


class ShardError(Exception):
    """A shard that does not do what it is asked; the text names it."""


class ShardUnavailableError(ShardError):
    """A shard that can't be reached, or ended the connection, for longer than `reconnect_s`."""


class ShardTimeoutError(ShardError):
    """A shard that did not answer in time. What was asked may have happened; asking again is safe."""


class ShardRestarted(PushRefused):
    """The shard has begun a new life, perhaps from a snapshot, since its marks were read."""


class Stream:
    """A `do_exchange` stream: one frame out, one frame in."""

    def __init__(self, client: flight.FlightClient) -> None:
        self._writer, self._reader = client.do_exchange(flight.FlightDescriptor.for_path("shard"))
        self._writer.begin(EMPTY_SCHEMA)
        self.cancelled = False

    def send(self, frame: wire.Bytes) -> None:
        """Send a request."""
        self._writer.write_metadata(pa.py_buffer(frame))

    def receive(self) -> Any:
        """Wait for the answer's frame; raises ConnectionError when the shard has ended the stream."""
        try:
            return self._reader.read_chunk().app_metadata
        except StopIteration:
            raise ConnectionError("the shard ended the stream") from None

    def close(self) -> None:
        """End it in order."""
        self._writer.close()

    def cancel(self) -> None:
        """End it from another thread: whoever waits gets an error."""
        self.cancelled = True
        self._reader.cancel()


class Watchdog:
    """Cancels streams that wait for longer than they may. One thread for all of them."""

    def __init__(self) -> None:
        self._deadlines: dict[Stream, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="shard-timeouts", daemon=True).start()

    @contextmanager
    def limit(self, stream: Stream, timeout_s: float) -> Iterator[None]:
        """Cancels `stream` when the block takes longer than `timeout_s`, and never afterwards."""
        with self._lock:
            self._deadlines[stream] = time.monotonic() + timeout_s
        try:
            yield
        finally:
            with self._lock:
                del self._deadlines[stream]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_INTERVAL_S):
            now = time.monotonic()
            with self._lock:
                for stream in [s for s, deadline in self._deadlines.items() if now >= deadline]:
                    stream.cancel()


class Connection:
    """Shard `index` of `shards` at `address`. Thread-safe: requests on their way have a stream each."""

    def __init__(
        self,
        address: str,
        index: int,
        shards: int,
        watchdog: Watchdog,
        *,
        timeout_s: float,
        reconnect_s: float,
    ) -> None:
        self.name = f"shard {index} at {address}"
        self._identity = {"version": wire.PROTOCOL_VERSION, "index": index, "shards": shards}
        self._watchdog = watchdog
        self._timeout_s = timeout_s
        self._address = address
        self._client = self._connect()
        self._idle: deque[Stream] = deque()
        self._epoch: int | None = None
        self._retrying = Retrying(
            retry=retry_if_exception_type(ShardUnavailableError),
            wait=wait_exponential_jitter(multiplier=0.05, max=1.0, jitter=0.05),
            stop=stop_after_delay(reconnect_s),
            reraise=True,
        )

    def send(self, request: Request) -> Stream | None:
        """Send a request for `receive` to finish; None: the shard can't be reached now."""
        try:
            return self._send(request)
        except ShardUnavailableError:
            return None

    def receive(self, stream: Stream | None, request: Request) -> Answer:
        """The answer to what was sent; if the connection is lost, `request` is sent again until it is
        answered.

        Raises ShardUnavailableError after `reconnect_s`, ShardTimeoutError, and what the shard answers:
        PushRefused, ShardRestarted, ValueError.
        """
        if stream is not None:
            try:
                return self._receive(stream)
            except ShardUnavailableError:
                pass
        return self._retrying.copy()(lambda: self._receive(self._send(request)))

    def act(
        self, action: str, timeout_s: float | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer to an action with `options`; tries again while the shard can't be reached."""
        body = orjson.dumps(options) if options else b""
        return self._retrying.copy()(self._act, action, body, timeout_s or self._timeout_s)

    def marks(self) -> dict[int, int]:
        """The shard's marks. From now on pushes are meant for the life that it is in."""
        answer = self.act("marks")
        self._epoch = int(answer["epoch"])
        return {int(partition): int(position) for partition, position in answer["marks"].items()}

    def close(self) -> None:
        """End all streams that nobody waits for."""
        while stream := self._idle_stream():
            with suppress(ShardError), self._guarded(stream):
                stream.close()
        self._client.close()

    def _connect(self) -> flight.FlightClient:
        return flight.connect(f"grpc://{self._address}", generic_options=_CHANNEL_OPTIONS)

    def _send(self, request: Request) -> Stream:
        stream = self._idle_stream() or self._open()
        assert self._epoch is not None  # _open has asked
        with self._guarded(stream):
            stream.send(request(self._epoch))
        return stream

    def _receive(self, stream: Stream) -> Answer:
        with self._guarded(stream):
            frame = stream.receive()
        header, body = wire.decode(frame)
        self._idle.append(stream)
        if isinstance(header, wire.ErrorHeader):
            raise self._error(header)
        return header, body

    def _error(self, header: wire.ErrorHeader) -> Exception:
        text = f"{self.name}: {header.message}"
        match header.kind:
            case "malformed":
                return ValueError(text)
            case "refused":
                return PushRefused(text)
            case "restarted":
                return ShardRestarted(text)
            case "broken":
                return ShardUnavailableError(text)

    def _idle_stream(self) -> Stream | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _open(self) -> Stream:
        # The greeting has a deadline and an answer: it finds out who is there before a stream is opened.
        hello = self._act("hello", orjson.dumps(self._identity), self._timeout_s)
        if self._epoch is None:
            self._epoch = int(hello["epoch"])
        try:
            return Stream(self._client)
        except _LOST as error:
            raise self._unavailable(error) from error

    def _act(self, action: str, body: bytes, timeout_s: float) -> dict[str, Any]:
        options = flight.FlightCallOptions(timeout=timeout_s)
        try:
            (result,) = self._client.do_action(flight.Action(action, body), options)
        except flight.FlightTimedOutError as error:
            raise self._timeout(timeout_s) from error
        except flight.FlightServerError as error:
            raise ShardError(f"{self.name}: {_first_line(error)}") from error
        except _LOST as error:
            # gRPC repeats an old refusal for up to nine seconds after the shard is back; a new channel asks.
            self._client = self._connect()
            raise self._unavailable(error) from error
        answer: dict[str, Any] = orjson.loads(result.body.to_pybytes())
        return answer

    @contextmanager
    def _guarded(self, stream: Stream) -> Iterator[None]:
        try:
            with self._watchdog.limit(stream, self._timeout_s):
                yield
        except _LOST as error:
            if stream.cancelled:
                raise self._timeout(self._timeout_s) from error
            self._drop(stream)
            raise self._unavailable(error) from error

    def _drop(self, stream: Stream | None) -> None:
        """Close a broken stream and the idle ones that broke with it, before Arrow complains on stderr."""
        while stream is not None:
            with suppress(*_LOST):
                stream.close()
            stream = self._idle_stream()

    def _timeout(self, timeout_s: float) -> ShardTimeoutError:
        return ShardTimeoutError(f"{self.name} did not answer within {timeout_s:g} s")

    def _unavailable(self, error: BaseException) -> ShardUnavailableError:
        return ShardUnavailableError(f"{self.name} can't be reached: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
