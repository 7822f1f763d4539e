"""The way back of a served prediction: image, model, snapshot, label and annotators."""

from dataclasses import dataclass, field

from sqlalchemy import Engine

from core.errors import HoneError
from labeling.ledger.lineage import (
    LabelOrigin,
    SampleOrigin,
    SnapshotRecord,
    find_snapshot,
    label_origin,
    sample_origin,
)
from models.registry.overview import ModelOrigin, ReleaseOrigin, model_origin, release_origin
from models.serving.prediction_store import find_prediction
from models.watching.outcome_queries import Outcome, history_of


@dataclass(frozen=True)
class ServedPrediction:
    """What the service answered."""

    prediction_id: str
    request_id: str
    label: str
    confidence: float
    needs_review: bool
    served_at: str


@dataclass(frozen=True)
class ServedImage:
    """Where the bytes received lie, and the sample that they became."""

    sample_id: str
    segment: str
    offset: int
    length: int
    sample: SampleOrigin | None  # None until `hone ingest` took it over


@dataclass(frozen=True)
class Trace:
    """One served prediction and everything that it rests on."""

    prediction: ServedPrediction
    image: ServedImage
    model: ModelOrigin
    verdict: ReleaseOrigin | None  # None for a model that was never released
    snapshot: SnapshotRecord | None
    truth: LabelOrigin | None  # of the served image itself; None while nobody has labelled it
    outcomes: list[Outcome] = field(default_factory=list)  # every truth that came for it


def trace(engine: Engine, prediction_id: str) -> Trace:
    """The way back of one served prediction."""
    row = find_prediction(engine, prediction_id)
    if row is None:
        raise HoneError(
            f"no prediction {prediction_id!r} in the store; `hone watch` takes over what the "
            "service recorded, and an answer of the service names its prediction_id"
        )
    with engine.connect() as connection:
        model, snapshot = model_origin(connection, row.model)
        return Trace(
            prediction=ServedPrediction(
                prediction_id=row.prediction_id,
                request_id=row.request_id,
                label=row.label,
                confidence=row.confidence,
                needs_review=row.needs_review,
                served_at=row.served_at,
            ),
            image=ServedImage(
                sample_id=row.sample_id,
                segment=row.segment,
                offset=row.offset,
                length=row.length,
                sample=sample_origin(connection, row.sample_id),
            ),
            model=model,
            verdict=release_origin(connection, model.version),
            snapshot=find_snapshot(connection, snapshot),
            truth=label_origin(connection, row.sample_id),
            outcomes=history_of(connection, prediction_id),
        )
