"""What the service counted since the last check: images, errors and latencies, from its metrics."""

import math
import time
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from models.watching.service_signals import Requests
from settings import Settings

SECONDS = 5.0  # a service that takes longer is taken for away: the check goes on without it
BYTES = 2**22  # of an answer; a whole one has some 30 kB
LATENCIES = 10_000  # at most, spread over the buckets as they were counted
HALTED = "HALTED"  # a reason that is no error
STARTED = "started"  # when the service did, beside what it counted
BY_START = "by start"  # in the state: the last reading of each service, by when it started
READ_AT = "read at"  # in the state: the time of the last reading
MOST = 16  # services behind one address, those that started last; what others counted is not known
WITHIN = "within "  # and seconds: requests that took no longer


def read_counters(settings: Settings) -> dict[str, float] | str:
    """The totals since the service started, by name; a sentence where they cannot be read."""
    if settings.service_url is None:
        return "HONE_SERVICE_URL is not set: it names the service whose counters are watched"
    address = f"{settings.service_url.rstrip('/')}/metrics"
    token = settings.service_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    content = b""
    try:
        with httpx.stream("GET", address, headers=headers, timeout=SECONDS) as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                content += part
                if len(content) > BYTES:
                    return f"{address} answers with more than {BYTES:,} bytes: is it the service?"
        return _totals(content.decode())
    except KeyError as error:
        return f"{address} gives no counters (one has no label {error}): is it the service?"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"{address} gives no counters ({error})"


def since(now: Mapping[str, float], state: Mapping[str, Any]) -> Requests | None:
    """What was counted since the last reading; None for the first, which has nothing before it.

    A service that started since then counts from 0, also where it has counted more than before.
    Of one that started earlier and was never read, another behind the same address, this reading
    is the first.
    """
    before = state.get(BY_START, {}).get(_start(now))
    if before is None:
        if READ_AT not in state or now.get(STARTED, 0.0) <= state[READ_AT]:
            return None
        before = {}
    restarted = any(now.get(name, 0.0) < total for name, total in before.items())
    new = now if restarted else {name: now[name] - before.get(name, 0.0) for name in now}
    return Requests(
        answered=round(new.get("answered", 0)),
        refused=round(new.get("refused", 0)),
        errors=round(new.get("errors", 0)),
        latencies=_latencies(new),
    )


def _start(totals: Mapping[str, float]) -> str:
    return str(totals.get(STARTED))


def _totals(text: str) -> dict[str, float]:
    totals: dict[str, float] = {"answered": 0.0, "refused": 0.0, "errors": 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name, labels, value = sample.name, sample.labels, float(sample.value)
            if name == "hone_images_total":
                totals["answered" if labels["outcome"] == "answered" else "refused"] += value
            elif name == "hone_requests_total" and _is_error(labels):
                totals["errors"] += value
            elif name == "hone_started_seconds":
                totals[STARTED] = value
            elif name == "hone_predict_seconds_bucket" and float(labels["le"]) > 0:
                totals[WITHIN + labels["le"]] = value
    if not all(math.isfinite(total) for total in totals.values()):
        raise ValueError("a counter is not a finite number")
    return totals


def _is_error(labels: Mapping[str, str]) -> bool:
    return (
        labels["endpoint"] == "predict"
        and labels["status"].startswith("5")
        and labels["reason"] != HALTED
    )


def _latencies(new: Mapping[str, float]) -> np.ndarray:
    """One number a request, the upper end of its bucket; thinned evenly where there are many."""
    within = {float(name.removeprefix(WITHIN)): new[name] for name in new if WITHIN in name}
    ends = np.array(sorted(within))
    counts = np.diff([0.0, *(within[end] for end in ends)])
    share = min(1.0, LATENCIES / max(counts.sum(), 1.0))
    beyond = 2 * ends[np.isfinite(ends)].max(initial=0.0)  # of the last bucket, which has no end
    seconds = np.where(np.isfinite(ends), ends, beyond)
    return np.repeat(seconds, np.maximum(np.round(counts * share), 0).astype(int))


def counted(settings: Settings, state: Mapping[str, Any]) -> tuple[Requests | str, dict[str, Any]]:
    """What was counted since `state`, or why it is not known, and the state for the next check."""
    read_at = time.time()
    now = read_counters(settings)
    if isinstance(now, str):
        return now, dict(state)
    readings = {**state.get(BY_START, {}), _start(now): now}
    new = since(now, state)
    return (
        new if new is not None else "this is the first reading of the counters",
        {BY_START: dict(sorted(readings.items())[-MOST:]), READ_AT: read_at},
    )
