"""The JSON of the service's requests and answers, as its OpenAPI document and clients know it.

The service builds its answers itself: nothing here runs while it answers.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.serving.feedback_records import LONGEST_NAME, LONGEST_TRUTH, PREDICTION_ID, Strength

PREDICTION = "9f2c4e0a7b1d48c6a3e5f7091b2d4c6e"
REQUEST = "5d1f0c3b9a7e42d8b6c4a2e0f8d6b4a2"
SAMPLE = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
MODEL = "hone:0002-3f9a1c"
DIGEST = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"

NOT_AN_IMAGE = {"reason": "NOT_AN_IMAGE", "detail": "this is text; JPEG and PNG images are taken"}
REFUSAL = {"reason": "NO_IMAGE", "detail": "the form has no file; send files"}
ANSWER = {
    "file": "one.jpg",
    "prediction_id": PREDICTION,
    "sample_id": SAMPLE,
    "model": MODEL,
    "needs_review": False,
    "label": "cat",
    "confidence": 0.93,
    "probabilities": {"cat": 0.93, "dog": 0.07},
}
TRUTH = {"prediction_id": PREDICTION, "truth": "dog", "who": "ada", "strength": "confirmed"}
OUTCOME = {"outcome_id": "0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e"}


NO_TRUTH = {"reason": "NO_TRUTH", "detail": "truth is empty; send the class that is right"}


def example(value: Any) -> ConfigDict:
    """The configuration of a model that shows this value."""
    return ConfigDict(json_schema_extra={"example": value})  # all that BentoML's documents take


class Problem(BaseModel):
    """Why something was refused."""

    model_config = example(REFUSAL)
    reason: str = Field(description="One word, of those in the guide.")
    detail: str = Field(description="A sentence: what is wrong, and what to do.")


class Refusal(BaseModel):
    """The answer to a request that is refused as a whole."""

    model_config = example({"error": REFUSAL})
    error: Problem


class Answer(BaseModel):
    """The prediction for one image."""

    model_config = example(ANSWER)
    file: str = Field(description="Its name in the form.")
    prediction_id: str = Field(pattern=PREDICTION_ID.pattern, description="For `/feedback`.")
    sample_id: str = Field(description="SHA-256 of the bytes received.")
    model: str = Field(description="The version that answered.")
    needs_review: bool = Field(description="A person should look before anybody acts on it.")
    label: str
    confidence: float = Field(ge=0, le=1.0001)  # half precision, summed in single
    probabilities: dict[str, float]


class RefusedImage(BaseModel):
    """In place of a prediction: why an image has none."""

    model_config = example({"file": "two.txt", "error": NOT_AN_IMAGE})
    file: str
    error: Problem


class Answers(BaseModel):
    """One entry for each image, in the order of the form."""

    model_config = example({"request_id": REQUEST, "predictions": [ANSWER]})
    request_id: str = Field(description="As in `X-Request-ID`, the client's or a new one.")
    predictions: list[Answer | RefusedImage]


class Truth(BaseModel):
    """What an image really was, whose prediction was served."""

    model_config = ConfigDict(extra="forbid", **example(TRUTH))
    prediction_id: str = Field(pattern=PREDICTION_ID.pattern)
    truth: str = Field(min_length=1, max_length=LONGEST_TRUTH, description="The right class.")
    who: str | None = Field(
        default=None, max_length=LONGEST_NAME, description="Needed by a confirmed truth."
    )
    source: str | None = Field(default=None, max_length=LONGEST_NAME, description="Of the truth.")
    strength: Strength | None = Field(default=None, description="Without one: weak.")
    at: str | None = Field(default=None, description="When it was decided, as in ISO 8601.")


class RefusedTruth(BaseModel):
    """Why a truth was not recorded."""

    class At(Problem):
        """The problem, and where it is."""

        position: int = Field(ge=0, description="Of the truth in the list.")

    model_config = example({"error": NO_TRUTH | {"position": 0}})
    error: At


class Outcome(BaseModel):
    """A truth that is on disk."""

    model_config = example(OUTCOME)
    outcome_id: str


class Recorded(BaseModel):
    """The answer to one truth: its `outcome_id`, or an `error`."""

    model_config = example({"request_id": REQUEST, "recorded": 1, **OUTCOME})
    request_id: str
    recorded: int = Field(ge=0, description="Truths that are on disk.")
    outcome_id: str | None = None
    error: RefusedTruth.At | None = None


class RecordedList(BaseModel):
    """The answer to a list of truths, in its order."""

    model_config = example({"request_id": REQUEST, "recorded": 1, "outcomes": [OUTCOME]})
    request_id: str
    recorded: int = Field(ge=0)
    outcomes: list[Outcome | RefusedTruth]


class Review(BaseModel):
    """What became of the image: `settled` has the label that annotators gave it."""

    status: Literal["pending", "asked", "skipped", "settled"]
    label: str | None = None
    trust: float | None = None
    settled_at: str | None = None
    asked_at: str | None = None


class Callback(BaseModel):
    """How the sending of a label stands."""

    url: str = Field(description="Scheme and server.")
    status: Literal["waiting", "delivered", "given up"]
    attempts: int
    delivered_at: str | None
    error: str | None = Field(
        description="Of the last call: the status that the receiver answered, `not reached`, or "
        "`not listed` any more."
    )


class Prediction(BaseModel):
    """An answer that was given, and the label that its image got since."""

    model_config = example(
        {
            "prediction_id": PREDICTION,
            "request_id": REQUEST,
            "sample_id": SAMPLE,
            "model": MODEL,
            "label": "cat",
            "confidence": 0.93,
            "needs_review": True,
            "served_at": "2026-11-21T10:00:00+00:00",
            "source": "gate 3, north",
            "review": {
                "status": "settled",
                "label": "dog",
                "trust": 0.98,
                "settled_at": "2026-11-22T09:30:00+00:00",
            },
            "callbacks": [],
        }
    )
    prediction_id: str
    request_id: str
    sample_id: str
    model: str
    label: str
    confidence: float
    needs_review: bool
    served_at: str
    source: str | None
    review: Review
    callbacks: list[Callback] = Field(description="Where the label is sent: `X-Callback-Url`.")


class Halted(BaseModel):
    """Why a service does not answer, or abstains."""

    policy: str
    who: str
    why: str
    halted_at: str


class Status(BaseModel):
    """What a worker of the service answers with, and what keeps a newer release from it."""

    model_config = example(
        {
            "model": MODEL,
            "digest": DIGEST,
            "release": 2,
            "challenger": None,
            "mode": "off",
            "share": 0.0,
            "front": None,
            "problem": None,
            "halt": None,
            "shadow": {"answered": 0, "waiting": 0},
            "classes": ["cat", "dog"],
            "needs_review_below": 0.8,
            "threads": 1,
            "answer_cache": {"hits": 120},
            "runtime": {"policy": "auto", "name": "openvino", "speed_up": 3.4},
            "cascade": None,
            "label_studio": {"enabled": False},
            "worker": 4711,
            "uptime_seconds": 86400.0,
        }
    )
    model: str | None = Field(description="The version that answers; null before a first release.")
    digest: str | None
    release: int | None = Field(description="Null for a bento's own model.")
    challenger: str | None = Field(description="The version that is tried beside it.")
    mode: Literal["off", "shadow", "canary"] = Field(description="How the challenger is tried.")
    share: float = Field(description="Percent of the clients that a canary answers.")
    front: str | None = Field(description="The version that answers first, in a cascade.")
    problem: str | None = Field(description="Why the newest release is not the one that answers.")
    halt: Halted | None
    shadow: dict[str, Any] = Field(description="How much of the traffic a challenger has answered.")
    classes: list[str]
    needs_review_below: float
    threads: int
    answer_cache: dict[str, Any] | None
    runtime: dict[str, Any] = Field(description="What computes, and how much faster than torch.")
    cascade: dict[str, Any] | None
    label_studio: dict[str, Any]
    worker: int = Field(description="The process that answered this request, one of several.")
    uptime_seconds: float


ALL_REFUSED: dict[type[BaseModel], Any] = {  # examples of answers in which nothing is good
    Answers: {
        "request_id": REQUEST,
        "predictions": [{"file": "two.txt", "error": NOT_AN_IMAGE}],
    },
    Recorded: {"request_id": REQUEST, "recorded": 0, "error": NO_TRUTH | {"position": 0}},
    RecordedList: {
        "request_id": REQUEST,
        "recorded": 0,
        "outcomes": [{"error": NO_TRUTH | {"position": 0}}],
    },
}
