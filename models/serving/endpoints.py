"""What the service answers, as an OpenAPI document: one table of endpoints, one of refusals.

Its own page shows it (`/`), and `/docs.json` has it for generators of clients.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.serving import feedback, schemas
from models.serving.bodies import BODY_BYTES, SECONDS
from models.serving.callbacks import PRINTABLE
from models.serving.feedback_records import PREDICTION_ID
from models.serving.requests import FIELD, IMAGES, REQUEST_ID, SOURCE

VERSION = "3.1.0"
CALLBACK = "https://hooks.example.com/hone/"
REFERENCE = "#/components/schemas/{model}"
TEXT = "text/plain"
DESCRIPTION = """Labels for images, each answer recorded with its image.

`curl -F images=@one.jpg ADDRESS/predict`, or in Python
`bentoml.SyncHTTPClient(ADDRESS).predict(images=["one.jpg"])`. A refusal has a reason in one word
and a sentence. Where the service has a token, send it as `Authorization: Bearer TOKEN`."""
# Reasons of a refusal by status. Those of every endpoint, those of one that takes a body, and then
# those of each.
ANYWHERE = {
    400: ("BAD_HTTP",),
    401: ("WRONG_TOKEN",),
    403: ("NO_TOKEN_SET", "OTHER_SITE"),
    408: ("TOO_SLOW",),
    429: ("RATE_LIMITED",),
    431: ("BAD_HTTP",),
    500: ("INTERNAL_ERROR",),
    503: ("TOO_MANY_CONNECTIONS",),
}
WITH_BODY = {
    400: ("CUT_OFF", "SMALL_CHUNKS"),
    413: ("BODY_TOO_LARGE",),
    429: ("BUSY",),
    501: ("BAD_HTTP",),
    503: ("NO_MEMORY",),
    504: ("TIMED_OUT",),
}
OF_PREDICT = {
    400: ("BAD_FORM", "NO_IMAGE", "NOT_A_FILE", "UNKNOWN_FIELD", "BAD_CHARSET", "BAD_REQUEST_ID",
          "BAD_SOURCE", "BAD_CLIENT_KEY", "BAD_CALLBACK"),
    409: ("REQUEST_ID_REUSED",),
    413: ("TOO_MANY_IMAGES", "TOO_MANY_PIXELS"),
    415: ("NOT_A_FORM",),
    503: ("HALTED", "UNAVAILABLE"),
}  # fmt: skip
OF_FEEDBACK = {
    400: ("BAD_JSON", "NO_FEEDBACK", "BAD_REQUEST_ID"),
    413: ("TOO_MANY_ROWS",),
    415: ("NOT_JSON",),
    503: ("UNAVAILABLE",),
}
OF_PREDICTIONS: dict[int, tuple[str, ...]] = {
    400: ("BAD_PREDICTION_ID",),
    404: ("UNKNOWN_PREDICTION",),
    503: ("UNAVAILABLE",),
}

Refusals = dict[int, tuple[str, ...]]
Json = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, and what it takes and answers."""

    method: str
    path: str
    summary: str
    description: str = ""
    answers: tuple[type[BaseModel], ...] = ()  # of status 200; () is text
    not_one_good: bool = False  # 400 has these answers, too: each with an error
    refusals: Refusals = field(default_factory=dict)
    body: Json | None = None  # OpenAPI's requestBody
    parameters: tuple[Json, ...] = ()

    @property
    def name(self) -> str:
        """Of the operation: the words of the path."""
        words = [word for word in self.path.split("/") if word and not word.startswith("{")]
        return f"{self.method}_{'_'.join(words)}".replace(".", "_")


def _header(name: str, pattern: str, description: str, example: str) -> Json:
    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return {"name": name, "in": "header", "required": False, "schema": schema,
            "description": description, "example": example}  # fmt: skip


REQUEST_HEADER = _header(
    "X-Request-ID", REQUEST_ID.pattern, "Under which the request may be repeated.", schemas.REQUEST
)
FILES = {
    "type": "object",
    "required": [FIELD],
    "additionalProperties": False,
    "properties": {
        FIELD: {
            "type": "array",
            "minItems": 1,
            "maxItems": IMAGES,
            "items": {"type": "string", "format": "binary"},
            "description": "JPEG, PNG and what else the guide names.",
        }
    },
}
TRUTHS = {
    "oneOf": [
        {"$ref": REFERENCE.format(model="Truth")},
        {
            "type": "array",
            "minItems": 1,
            "maxItems": feedback.ROWS,
            "items": {"$ref": REFERENCE.format(model="Truth")},
        },
    ]
}
ENDPOINTS = (
    Endpoint(
        "post", "/predict", "Labels for images",
        f"Images as files of a form, up to {IMAGES} and {BODY_BYTES >> 20} MiB. Each answer is on "
        f"disk before it is sent, within {SECONDS:g} seconds. 200 if any image was good.",
        answers=(schemas.Answers,), not_one_good=True, refusals=OF_PREDICT,
        body={"required": True, "content": {"multipart/form-data": {"schema": FILES}}},
        parameters=(
            REQUEST_HEADER,
            _header("X-Source", SOURCE.pattern, "Where the images come from.", "gate 3, north"),
            _header(
                "X-Client-Key", SOURCE.pattern,
                "Requests of one key get one model while another is tried.", "customer-17",
            ),
            _header("X-Callback-Url", PRINTABLE.pattern, "Gets the settled labels.", CALLBACK),
        ),
    ),
    Endpoint(
        "post", "/feedback", "What images really were",
        f"One truth about a prediction, or a list of up to {feedback.ROWS:,}. 200 if any was "
        "recorded; whether the prediction is known is looked at later.",
        answers=(schemas.Recorded, schemas.RecordedList), not_one_good=True, refusals=OF_FEEDBACK,
        body={
            "required": True,
            "content": {"application/json": {"schema": TRUTHS, "example": schemas.TRUTH}},
        },
        parameters=(REQUEST_HEADER,),
    ),
    Endpoint(
        "get", "/predictions/{prediction_id}", "What became of an answer",
        "The answer, given by any worker, and the label that its image got since.",
        answers=(schemas.Prediction,), refusals=OF_PREDICTIONS,
        parameters=(
            {
                "name": "prediction_id", "in": "path", "required": True,
                "schema": {"type": "string", "pattern": f"^{PREDICTION_ID.pattern}$"},
                "example": schemas.PREDICTION,
            },
        ),
    ),
    Endpoint(
        "get", "/status", "The model in service",
        "Of the worker that answers; `problem` says why a newer release is not served.",
        answers=(schemas.Status,),
    ),
    Endpoint("get", "/metrics", "Counters of all workers", "In the text format of Prometheus."),
    Endpoint("get", "/livez", "Whether the process answers", "Needs no token."),
    Endpoint("get", "/readyz", "Whether a model answers", "503 before one does. Needs no token."),
)  # fmt: skip
WITHOUT_TOKEN = ("/livez", "/readyz")


def document(version: str = "none") -> Json:
    """The OpenAPI document of the service; `version` is that of its bento."""
    paths: dict[str, Json] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    shown: list[type[BaseModel]] = [schemas.Refusal, schemas.Truth]
    for endpoint in ENDPOINTS:
        shown += endpoint.answers
    _, definitions = models_json_schema(
        [(one, "validation") for one in shown], ref_template=REFERENCE
    )
    return {
        "openapi": VERSION,
        "info": {
            "title": "Hone",
            "version": version,
            "description": DESCRIPTION,
        },
        "servers": [{"url": "."}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "HONE_SERVICE_TOKEN, where the service has one.",
                }
            },
        },
    }


async def docs(request: Request) -> Response:
    """The document, for the page that shows it."""
    return JSONResponse(request.app.state.document)


def refusals_of(endpoint: Endpoint) -> Refusals:
    """Each status that the endpoint refuses with, and its reasons."""
    if endpoint.path in WITHOUT_TOKEN:
        return {}
    tables = [ANYWHERE, *([WITH_BODY] if endpoint.body else []), endpoint.refusals]
    return {
        status: tuple(reason for table in tables for reason in table.get(status, ()))
        for status in sorted({status for table in tables for status in table})
    }


def _operation(endpoint: Endpoint) -> Json:
    operation = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": list(endpoint.parameters),
        "responses": dict(_responses(endpoint)),
    }
    if endpoint.path in WITHOUT_TOKEN:
        operation["security"] = [{}]
    return operation | ({"requestBody": endpoint.body} if endpoint.body else {})


def _responses(endpoint: Endpoint) -> Iterator[tuple[str, Json]]:
    shown = {one: _example(one) for one in endpoint.answers}
    yield "200", {"description": "OK", "content": _content(shown) if shown else {TEXT: {}}}
    if endpoint.path == "/readyz":
        yield "503", {"description": "No model answers", "content": {TEXT: {}}}
    for status, reasons in refusals_of(endpoint).items():
        named = ", ".join(f"`{reason}`" for reason in reasons)
        refused: Json = {"description": f"{HTTPStatus(status).phrase}: {named}"}
        shown = {schemas.Refusal: {"error": {"reason": reasons[0], "detail": "..."}}}
        if status == 400 and endpoint.not_one_good:
            refused["description"] = f"Nothing was good, or {named}"
            shown = {one: schemas.ALL_REFUSED[one] for one in endpoint.answers} | shown
        if status in (429, 503):
            seconds = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            refused["headers"] = {"Retry-After": seconds}
        yield str(status), refused | {"content": _content(shown)}


def _content(shown: Mapping[type[BaseModel], Any]) -> Json:
    """One of these answers, each with its example."""
    references = [{"$ref": REFERENCE.format(model=one.__name__)} for one in shown]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    examples = {one.__name__: {"value": value} for one, value in shown.items()}
    return {"application/json": {"schema": schema, "examples": examples}}


def _example(answer: type[BaseModel]) -> Any:
    return cast(Json, answer.model_config["json_schema_extra"])["example"]
