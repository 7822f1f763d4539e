"""A workspace with a champion and a challenger that begin a duel, without weights of either."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from core import journal
from core.database import now, writing
from core.locks import only_writer
from core.workspace import init_workspace
from labeling import simulation
from labeling.batches.disagreements import find_disagreements
from labeling.ledger import duels
from labeling.ledger.duels import Duel
from models.judging.alpha_spending import alpha_of
from models.judging.criterion import Criterion, Status
from models.judging.duel import DuelPlan, Stratum
from models.judging.duel_record import DuelRecord
from models.judging.evidence import Mode
from models.judging.verdict import GatePolicy
from models.registry import releases
from models.registry.versions import models
from tasks.context import Context, open_context
from tests.labeling.databases import make_engine, store_images

CLASSES = ["cat", "dog"]
CHAMPION, CHALLENGER, OTHER = "hone:0001-a", "hone:0002-b", "hone:0003-c"
CERTAIN = {"cat": [1.0, 0.0], "dog": [0.0, 1.0]}


def make_duel_workspace(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pool: str,
    traffic: str = "",
    error_rate: float = 0.0,
) -> Context:
    """A workspace whose simulated annotators answer `pool` and `traffic`: + where the challenger
    is right, - where the champion is.
    """
    workspace = init_workspace(folder / "workspace", CLASSES, image_size=8)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    names = [*sample_ids(pool), *sample_ids(traffic, "served")]
    engine = make_engine(workspace.root, names)
    store_images(engine, workspace, {name: name.encode() for name in names})
    with writing(engine) as connection:
        made = [model_row(version) for version in (CHAMPION, CHALLENGER, OTHER)]
        journal.insert(connection, models, made)
    put_by_hand(engine, CHAMPION, expected=0)
    truths = dict(
        zip(names, ["cat" if one == "+" else "dog" for one in pool + traffic], strict=True)
    )
    annotators = [simulation.Annotator(name, error_rate) for name in ("ann", "ben")]
    simulation.save_simulation(workspace.root, pd.Series(truths), annotators, seed=0)
    engine.dispose()
    return open_context()


def sample_ids(signs: str, begin: str = "image") -> list[str]:
    """The samples that stand for these signs, in the order in which they are drawn."""
    return [f"{begin}-{number:03d}" for number in range(len(signs))]


def model_row(version: str) -> dict[str, object]:
    """The record of a model whose weights nobody needs."""
    about = {"version": version, "weights_sha256": "0", "snapshot": "snapshot-0001", "seed": 0}
    return about | {"code_commit": "0", "config": {}, "metrics": {}, "created_at": now()}


def put_by_hand(engine: Engine, version: str, *, expected: int) -> None:
    """Put a version into service as a person does."""
    releases.release(
        engine, version=version, verdict_id=None, who="ann", why="a test", expected=expected,
        override=True,
    )  # fmt: skip


def record_of(
    pool: str, traffic: str = "", *, scored: int = 100, most_answers: int = 400, **changes: object
) -> DuelRecord:
    """What is fixed when a duel about these samples begins."""
    strata = [Stratum("pool", scored, len(pool))]
    strata += [Stratum("traffic", scored, len(traffic))] if traffic else []
    plan = DuelPlan(
        number=1, alpha=alpha_of(1), mode=Mode.BETTER, margin=0.02, min_gain=0.0,
        most_answers=most_answers, strata=tuple(strata),
    )  # fmt: skip
    known = {"plan": plan, "policy": GatePolicy(), "kind": "classification", "champion": CHAMPION,
             "challenger": CHALLENGER, "champion_classes": tuple(CLASSES),
             "challenger_classes": tuple(CLASSES),
             "criteria": (Criterion("rows", Status.PASS, "40 rows"),),
             "metrics": {"rows": 40, "challenger_accuracy": 0.9},
             "rows_fingerprint": "f00d"}  # fmt: skip
    return DuelRecord(**(known | changes))  # type: ignore[arg-type]


def begin_duel(
    ctx: Context, pool: str, traffic: str = "", *, approval: str = "verdict", **changes: object
) -> Duel:
    """Begin a duel in which the challenger always says "cat", and the champion "dog"."""
    record = record_of(pool, traffic, **changes)  # type: ignore[arg-type]
    rows = {"pool": sample_ids(pool), "traffic": sample_ids(traffic, "served")}
    scored = {name: pd.DataFrame({"sample_id": ids}) for name, ids in rows.items() if ids}
    drawn = find_disagreements(
        scored, _says("dog", scored), _says("cat", scored), most=record.plan.most_answers
    ).drawn
    with only_writer(ctx.engine, "rounds") as token, writing(ctx.engine) as connection:
        return duels.begin_duel(
            connection, token, champion=record.champion, challenger=record.challenger,
            snapshot="snapshot-0001", plan=record.as_json(), approval=approval, drawn=drawn,
        )  # fmt: skip


def _says(
    label: str, scored: dict[str, pd.DataFrame]
) -> dict[str, tuple[np.ndarray, Sequence[str]]]:
    return {
        name: (np.array([CERTAIN[label]] * len(rows), np.float32), [label] * len(rows))
        for name, rows in scored.items()
    }
