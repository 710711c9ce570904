"""How the processes of shards and trainers are told to end."""

import signal
import threading


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT, from now on. For the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
