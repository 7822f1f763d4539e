"""A duel that has ended, put into a workspace in which every promise holds."""

from dataclasses import replace

import pandas as pd
from sqlalchemy import Engine

from core import journal
from core.database import now, writing
from core.locks import only_writer
from labeling.ledger import duels
from labeling.ledger.tables import duel_samples
from models.registry import releases, versions
from tests.models.saved_models import CLASSES
from tests.tasks.duels import record_of


def add_ended_duel(engine: Engine) -> str:
    """Record a duel about the sample "b" in which only the challenger was right; its verdict.

    The one model there is plays both parts.
    """
    model = str(releases.champion(engine))
    record = replace(
        record_of("+", champion=model, challenger=model),
        champion_classes=CLASSES,
        challenger_classes=CLASSES,
    )
    drawn = pd.DataFrame({"sample_id": ["b"], "population": ["pool"], "position": [0]}).assign(
        champion_output=pd.Series([[0.0, 1.0, 0.0]]), challenger_output=pd.Series([[1.0, 0.0, 0.0]])
    )
    pair = {"champion": model, "challenger": model, "snapshot": "snapshot-0001"}
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        duel = duels.begin_duel(
            connection, token, **pair, plan=record.as_json(), approval="verdict", drawn=drawn
        )
        counted = {"duel_id": duel.duel_id, "sample_id": "b", "round_id": "round-0001"}
        ended = {"ending": "labelled", "answer": "cat", "value": 1, "counted_at": now()}
        journal.update_rows(connection, duel_samples, [{**counted, **ended}])
        verdict = record.verdict(duel.duel_id, duels.load_duel_samples(connection, duel.duel_id))
        row = versions.judged_row(verdict, rows_fingerprint="f00d", **pair)
        verdict_id = versions.insert_verdict(connection, row)
        duels.end_duel(connection, token, duel, outcome=verdict.outcome, verdict_id=verdict_id)
    return verdict_id
