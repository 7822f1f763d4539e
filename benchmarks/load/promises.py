"""What must hold after the run, and every place where it does not."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from benchmarks.load.client import ANSWER, EXPECTED, GOOD, RETRY, Sent, digest_of
from benchmarks.load.disk import BALLAST
from benchmarks.load.faults import Served
from benchmarks.load.server import Usage
from models.registry.model_store import load_model
from models.serving.earlier_answers import CLAIMS
from models.serving.prediction_store import predictions, read_served_image, undrained_segments

EXCUSED = (429, 503, 504)  # refusals that name their reason; None is no answer at all
LAG = 30.0  # seconds after a release in which a worker may still answer with the older model
OLD = 45.0  # seconds: a younger worker says nothing about growth
GROWTH = 48 * 2**20  # bytes that a worker may grow by: batches of other sizes
FILES = 4  # descriptors by which a worker may vary


@dataclass(frozen=True)
class Evidence:
    """What the run left."""

    sent: Sequence[Sent]
    served: Sequence[Served]
    usage: Mapping[int, Sequence[Usage]]
    engine: Engine
    bento_home: Path
    traffic: Path


def broken(evidence: Evidence) -> list[str]:
    """Every broken promise, in a sentence; empty when all of them hold."""
    rows = _rows(evidence)
    return [
        *_answers_that_differ(evidence, rows),
        *_unforeseen_statuses(evidence.sent),
        *_rows_of_nobody(evidence.sent, rows),
        *_models_out_of_service(evidence.served, rows),
        *_images_that_differ(evidence, rows),
        *_segments_left(evidence),
        *_workers_that_grow(evidence.usage),
    ]


def growth(usage: Sequence[Usage]) -> tuple[int, int]:
    """Bytes and descriptors by which a worker grew from the middle to the last third of its life.

    In the first third it starts.
    """
    third = len(usage) // 3
    if not third or usage[-1].age < OLD:
        return 0, 0
    middle, late = usage[third:-third], usage[-third:]
    return (
        _median([one.memory for one in late]) - _median([one.memory for one in middle]),
        _median([one.files for one in late]) - _median([one.files for one in middle]),
    )


def _median(numbers: Sequence[int]) -> int:
    return sorted(numbers)[len(numbers) // 2]


def _rows(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """The stored predictions of each request, each with the digest of the answer it stands for."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    cards: dict[str, Any] = {}
    with evidence.engine.connect() as connection:
        for row in connection.execute(select(predictions)):
            if row.model not in cards:
                loaded = load_model(evidence.engine, evidence.bento_home, row.model)
                cards[row.model] = loaded.card
            card = cards[row.model]
            served = card.label_kind.served(row.probabilities, card.classes)
            told = {name: served.get(name, getattr(row, name)) for name in ANSWER}
            rows[row.request_id].append({"digest": digest_of(told), "row": row})
    return rows


def _answers_that_differ(
    evidence: Evidence, rows: Mapping[str, list[dict[str, Any]]]
) -> Iterator[str]:
    acknowledged: dict[str, set[str]] = defaultdict(set)
    for one in evidence.sent:
        if one.status == 200 and one.digest:
            acknowledged[one.request_id].add(one.digest)
    for request_id, digests in acknowledged.items():
        stored = [row["digest"] for row in rows.get(request_id, [])]
        if not stored:
            yield f"{request_id} was acknowledged and is lost"
        elif len(stored) > 1:
            yield f"{request_id} was acknowledged and is stored {len(stored)} times"
        elif len(digests) > 1:
            yield f"{request_id} got {len(digests)} different answers"
        elif digests != set(stored):
            yield f"{request_id} is stored with another answer than was given"
    for one in evidence.sent:
        stored = [row["digest"] for row in rows.get(one.request_id, [])]
        if one.request_id not in acknowledged and len(stored) > 1:
            yield f"{one.request_id} was never acknowledged and is stored {len(stored)} times"


def _unforeseen_statuses(sent: Sequence[Sent]) -> Iterator[str]:
    for one in sent:
        if one.status not in (None, EXPECTED[one.kind], *EXCUSED):
            yield f"{one.request_id} ({one.kind}) got {one.status}: {one.note}"


def _rows_of_nobody(
    sent: Sequence[Sent], rows: Mapping[str, list[dict[str, Any]]]
) -> Iterator[str]:
    known = {one.request_id for one in sent if one.kind in (GOOD, RETRY)}
    for request_id in rows:
        if request_id.startswith("load-") and request_id not in known:
            yield f"{request_id} is stored and was never sent as a good request"


def _models_out_of_service(
    served: Sequence[Served], rows: Mapping[str, list[dict[str, Any]]]
) -> Iterator[str]:
    ends = [one.ended for one in served[1:]] + [float("inf")]
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one, end in zip(served, ends, strict=True):
        spans[one.model].append((one.began, end + LAG))
    for stored in rows.values():
        for row in stored:
            one = row["row"]
            at = datetime.fromisoformat(one.served_at).timestamp()
            if not any(began <= at <= end for began, end in spans[one.model]):
                yield f"{one.request_id} was answered by {one.model}, out of service then"


def _images_that_differ(
    evidence: Evidence, rows: Mapping[str, list[dict[str, Any]]]
) -> Iterator[str]:
    for stored in rows.values():
        for row in stored:
            try:
                read_served_image(evidence.traffic, row["row"])
            except (OSError, ValueError) as error:
                yield f"{row['row'].request_id}: {error}"


def _segments_left(evidence: Evidence) -> Iterator[str]:
    files = [path for path in evidence.traffic.iterdir() if path.name not in (BALLAST, CLAIMS)]
    for path in files:
        if path.suffix != ".seg":
            yield f"{path.name} is left in the traffic"
        elif path.stat().st_size == 0:
            yield f"{path.name} is empty"
    if undrained := undrained_segments(evidence.engine, evidence.traffic):
        yield f"{undrained} segments have records that were not drained"


def _workers_that_grow(usage: Mapping[int, Sequence[Usage]]) -> Iterator[str]:
    for worker, values in usage.items():
        memory, files = growth(values)
        if memory > GROWTH:
            yield f"worker {worker} grew by {memory / 2**20:.0f} MiB"
        if files > FILES:
            yield f"worker {worker} holds {files} more files than before"
