"""What a model says of the audit images that were stored with it: confusion and worst mistakes.

Nothing is predicted for it: the outputs were stored when the model was trained.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.intervals import Interval, mean_interval
from labeling.audit.numbers import Part
from labeling.audit.rows import of_part
from labeling.ledger.page_queries import file_names, labelled_audit
from models.judging.compare import worst_mistakes
from models.registry.model_card import ModelCard
from models.registry.model_store import entry
from models.registry.stored_entries import saved_reference
from models.registry.versions import find_model
from tasks.context import Context
from tasks.report.html.pictures import Picture, sample_picture

MOST_ROWS = 20_000  # audit images at most, evenly: the cost follows no history
MISTAKES = 18


@dataclass(frozen=True)
class Mistake:
    """An image that the model was wrong about."""

    sample_id: str
    truth: str
    predicted: str
    confidence: float
    picture: Picture
    path: str | None  # it came from; None for what was served


@dataclass(frozen=True)
class JudgedRows:
    """A model on audit images; `missing` says why where there are none."""

    version: str
    classes: tuple[str, ...] = ()
    confusion: np.ndarray | None = None  # [truths, answers] on the images that verdicts use
    accuracy: Interval | None = None  # on the same
    mistakes: list[Mistake] = field(default_factory=list)  # among all audit images
    rows: int = 0  # audit images, of which the mistakes are some
    missing: str = ""


def judged_rows(ctx: Context, version: str) -> JudgedRows:
    """The confusion of a version on the audit's part for verdicts, and its worst mistakes on all.

    Labels are those in force now; a class that the model does not know does not count.
    """
    record = find_model(ctx.engine, version)
    stored = saved_reference(entry(ctx.workspace.bento_home, version), record.weights_sha256)
    if stored is None:
        return JudgedRows(
            version,
            missing=f"the outputs stored with {version} are missing or damaged: `hone fsck`",
        )
    names, outputs = stored
    step = max(1, -(-len(names) // MOST_ROWS))
    with ctx.engine.connect() as connection:
        labelled = labelled_audit(connection, names[::step])
        counted = of_part(connection, labelled) if len(labelled) else labelled.assign(part="")
    card = ModelCard(**{**record.config, "classes": tuple(record.config["classes"])})
    counted = counted[counted["label"].isin(card.classes)].reset_index(drop=True)
    if not len(counted):
        why = f"no audit image that {version} was measured on has a label of a known class"
        return JudgedRows(version, card.classes, missing=why)
    places = pd.Index(names).get_indexer(pd.Index(counted["sample_id"]))
    return _judged(ctx, version, card, counted, outputs[places])


def _judged(
    ctx: Context, version: str, card: ModelCard, rows: pd.DataFrame, outputs: np.ndarray
) -> JudgedRows:
    kind, classes = card.label_kind, card.classes
    worst = worst_mistakes(outputs, rows["label"].tolist(), classes, most=MISTAKES, kind=kind)
    with ctx.engine.connect() as connection:
        paths = file_names(connection, rows["sample_id"].iloc[worst["row"]].tolist())
    wrong = rows.iloc[worst["row"]].itertuples()
    mistakes = [
        Mistake(
            sample_id=str(row.sample_id),
            truth=str(one.truth),
            predicted=str(one.predicted),
            confidence=float(str(one.confidence)),
            picture=sample_picture(ctx.workspace.shards, row),
            path=paths.get(str(row.sample_id)),
        )
        for one, row in zip(worst.itertuples(), wrong, strict=True)
    ]
    gate = np.flatnonzero(rows["part"] == Part.GATE.value)
    if not len(gate):
        return JudgedRows(version, classes, mistakes=mistakes, rows=len(rows))
    truths = rows["label"].iloc[gate].tolist()
    return JudgedRows(
        version,
        classes,
        kind.confusion(outputs[gate], truths, classes),
        mean_interval(kind.credit(outputs[gate], truths, classes)),
        mistakes,
        len(rows),
    )
