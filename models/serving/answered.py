"""`GET /predictions/{id}`: an answer that was given, and the label that its image got since.

The answer is read from the database, or from the segments of all workers while it is in these
alone. The label is that of annotators: it returns to whoever asked for the prediction.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, column, select, table
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.text import short
from models.serving.callback_store import calls_of
from models.serving.earlier_answers import EarlierAnswers
from models.serving.feedback_records import PREDICTION_ID
from models.serving.prediction_store import predictions
from models.serving.requests import RequestError

AT_ONCE = 4  # look-ups of a worker; the others wait for their turn
SHOWN = (
    "prediction_id", "request_id", "sample_id", "model", "label", "confidence", "needs_review",
    "served_at", "source",
)  # fmt: skip
# What the ledger has of an image, by the names of its tables: serving may not import labeling.
_labels = table(
    "labels", *map(column, ("sample_id", "label", "trust", "settled_at", "replaced_at"))
)
_assignments = table(
    "assignments", *map(column, ("sample_id", "sent_at", "closed_at", "outcome", "round_id"))
)


class AnsweredPredictions:
    """Looks up predictions of all workers, a few at a time and never on the event loop."""

    def __init__(self, engine: Engine | None, earlier: EarlierAnswers) -> None:
        self._engine, self._earlier = engine, earlier
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def find(self, prediction_id: str) -> dict[str, Any]:
        """The answer and what became of its image; an unknown id is a `RequestError`."""
        if not PREDICTION_ID.fullmatch(prediction_id):
            what = f"{short(prediction_id)} is no prediction; send the 32 digits of /predict"
            raise RequestError(400, "BAD_PREDICTION_ID", what)
        async with self._turn:
            try:
                return await asyncio.to_thread(self._find, prediction_id)
            except (OSError, SQLAlchemyError) as error:
                detail = f"predictions cannot be looked up ({error.__class__.__name__})"
                raise RequestError(503, "UNAVAILABLE", detail, retry_after=1) from error

    def _find(self, prediction_id: str) -> dict[str, Any]:
        if self._engine is not None:
            with self._engine.connect() as connection:
                row = _drained(connection, prediction_id)
                fields = row or self._in_segments(prediction_id)
                shown = {**_shown(fields), "review": review_of(connection, fields["sample_id"])}
                return {**shown, "callbacks": calls_of(connection, prediction_id)}
        shown = _shown(self._in_segments(prediction_id))
        return {**shown, "review": {"status": "pending"}, "callbacks": []}

    def _in_segments(self, prediction_id: str) -> Mapping[str, Any]:
        record = self._earlier.prediction(prediction_id)
        if record is None:
            detail = f"no prediction {prediction_id} was answered by this service"
            raise RequestError(404, "UNKNOWN_PREDICTION", detail)
        return record.fields


def review_of(connection: Connection, sample_id: str) -> dict[str, Any]:
    """Where an image stands: pending, asked, skipped, or settled with its label and when it came.

    A skipped one is not asked about again, so no label will come.
    """
    label = connection.execute(
        select(*_labels.c["label", "trust", "settled_at"]).where(
            _labels.c.sample_id == sample_id, _labels.c.replaced_at.is_(None)
        )
    ).first()
    if label is not None:
        return {"status": "settled", **label._mapping}
    asked = connection.execute(
        select(*_assignments.c["sent_at", "closed_at", "outcome"])
        .where(_assignments.c.sample_id == sample_id, _assignments.c.sent_at.is_not(None))
        .order_by(_assignments.c.round_id.desc())
        .limit(1)
    ).first()
    if asked is None or asked.outcome == "deleted":
        return {"status": "pending"}
    status = "skipped" if asked.outcome == "skipped" else "asked"
    return {"status": status, "asked_at": asked.sent_at}


def _drained(connection: Connection, prediction_id: str) -> Mapping[str, Any] | None:
    mine = predictions.c.prediction_id == prediction_id
    row = connection.execute(select(*predictions.c[SHOWN]).where(mine)).first()
    return None if row is None else row._asdict()


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in SHOWN}


async def prediction(request: Request) -> Response:
    """The answer of a prediction and the label that its image got; 404 for an unknown id."""
    answered: AnsweredPredictions = request.app.state.hone.answered
    try:
        return JSONResponse(await answered.find(request.path_params["prediction_id"]))
    except RequestError as problem:
        return problem.response()


ROUTES = [
    Route(path, prediction, methods=["GET"])
    for path in ("/predictions/{prediction_id}", "/predictions/{prediction_id}/")
]
