"""How many requests a client may send: a bucket of requests for each address."""

import math
import time
from collections import OrderedDict

from core.http_access import App, Receive, Send, client_of
from models.serving.bodies import Scope
from models.serving.requests import RequestError

ADDRESSES = 10_000  # remembered; the one that was quiet longest is forgotten


class ClientRates:
    """ASGI middleware: a client over `per_minute` gets 429, with the seconds it must wait.

    A client may send the requests of a minute at once; then its bucket fills again evenly. None is
    no limit. Each worker counts for itself.
    """

    def __init__(self, app: App, per_minute: int | None) -> None:
        self._app = app
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""
        if scope["type"] == "http" and self._per_minute:
            seconds = self._seconds_to_wait(scope, self._per_minute)
            if seconds:
                detail = f"over {self._per_minute:,} requests a minute; wait {seconds} seconds"
                problem = RequestError(429, "RATE_LIMITED", detail, retry_after=seconds)
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _seconds_to_wait(self, scope: Scope, per_minute: int) -> int:
        address = client_of(scope)
        now, a_second = time.monotonic(), per_minute / 60
        left, since = self._buckets.pop(address, (float(per_minute), now))
        left = min(per_minute, left + (now - since) * a_second)
        self._buckets[address] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return 0 if left >= 1 else math.ceil((1 - left) / a_second)
