"""How many requests are not answered yet: what has time waits until there are none."""

import threading
import time


class Load:
    """The requests that are not answered yet, so that what has time can wait for none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests = 0
        self._last = 0.0

    def begin(self) -> None:
        """A request came in."""
        with self._changed:
            self._requests += 1

    def end(self) -> None:
        """A request was answered, or given up."""
        with self._changed:
            self._requests -= 1
            self._last = time.monotonic()
            if not self._requests:
                self._changed.notify_all()

    def wait_for_none(self, seconds: float) -> bool:
        """Whether no request waits, now or within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._requests, seconds)

    def quiet_seconds(self) -> float:
        """How long no request has been waiting; 0 while one does."""
        with self._changed:
            return 0.0 if self._requests else time.monotonic() - self._last
