"""`POST /feedback`: truths about served predictions, on disk before they are answered.

They go to segments of their own, in the folder `feedback` of the traffic, with the machinery of the
served predictions: a drain takes each record once, and a damaged one hides no other.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.database import now
from models.serving import metrics
from models.serving.feedback_records import Feedback, FeedbackRefused, checked_feedback, record_of
from models.serving.requests import RequestError, new_request_id, request_id_of
from models.serving.segments import SegmentWriter

FOLDER = "feedback"  # in that of the traffic
ROWS = 1_000  # truths in one request
BODY_BYTES = 2**20  # of a request; a truth takes some 200
SOURCE = "service"  # of a truth that names none
HOW = (
    'send JSON, for example {"prediction_id": "...", "truth": "cat", "who": "ada", '
    '"strength": "confirmed"}, or a list of such'
)

Answer = dict[str, Any]


class FeedbackRecorder:
    """Appends truths to a segment of this process, and answers when they are on disk."""

    def __init__(self, traffic: Path) -> None:
        self._writer = SegmentWriter(traffic / FOLDER)

    def record(self, request_id: str, rows: list[Any]) -> list[Answer]:
        """An answer for each row, in order: the id of its outcome, or an `error`; synced."""
        checked = [_checked(row, position, request_id) for position, row in enumerate(rows)]
        good = [one for one in checked if isinstance(one, Feedback)]
        if good:
            try:
                self._writer.append_parts([(record_of(one), b"") for one in good])
            except OSError as error:
                detail = f"the feedback could not be recorded ({error})"
                raise RequestError(503, "UNAVAILABLE", detail, retry_after=1) from error
        refused = [one["error"]["reason"] for one in checked if not isinstance(one, Feedback)]
        metrics.count_feedback(good, refused)
        return [
            {"outcome_id": one.outcome_id} if isinstance(one, Feedback) else one for one in checked
        ]

    def close(self) -> None:
        """Close the segment; a later record begins a new one."""
        self._writer.close()


async def feedback(request: Request) -> Response:
    """The outcome of each truth in the body, in order: 200 if any was recorded, else 400."""
    recorder: FeedbackRecorder = request.app.state.hone.recorder
    try:
        request_id = request_id_of(request) or new_request_id()
        rows, is_list = rows_of(request.headers.get("content-type", ""), await _body(request))
        answers = await asyncio.to_thread(recorder.record, request_id, rows)
    except RequestError as problem:
        return problem.response()
    recorded = sum("outcome_id" in answer for answer in answers)
    shown = {"outcomes": answers} if is_list else answers[0]
    return JSONResponse(
        {"request_id": request_id, "recorded": recorded, **shown},
        200 if recorded else 400,
        {"X-Request-ID": request_id},
    )


def rows_of(content_type: str, body: bytes) -> tuple[list[Any], bool]:
    """The truths in a body, and whether they came as a list; a bad body is a `RequestError`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, "NOT_JSON", f"the body is {kind[:100] or 'of no type'}; {HOW}")
    if len(body) > BODY_BYTES:
        detail = f"more than {BODY_BYTES:,} bytes in one request; send fewer truths at a time"
        raise RequestError(413, "BODY_TOO_LARGE", detail)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else "it is no JSON"
        raise RequestError(400, "BAD_JSON", f"the body cannot be read: {cause}; {HOW}") from error
    if not isinstance(content, list):
        return [content], False
    if len(content) > ROWS:
        detail = f"{len(content):,} truths in one request; {ROWS:,} are the limit"
        raise RequestError(413, "TOO_MANY_ROWS", detail)
    if not content:
        raise RequestError(400, "NO_FEEDBACK", f"the list is empty; {HOW}")
    return content, True


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise RequestError(400, "CUT_OFF", "the connection ended before the body did") from error


def _checked(row: Any, position: int, request_id: str) -> Feedback | Answer:
    try:
        under = f"{request_id}:{position}"
        return checked_feedback(row, received_at=now(), source=SOURCE, under=under)
    except FeedbackRefused as refused:
        error = {"reason": refused.reason, "detail": refused.detail, "position": position}
        return cast(Answer, {"error": error})


ROUTES = [Route(path, feedback, methods=["POST"]) for path in ("/feedback", "/feedback/")]
