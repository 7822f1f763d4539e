"""Which assignments answers end, one by one; tests/labeling/consensus has the whole settling."""

from pathlib import Path

import pandas as pd
from sqlalchemy import insert, select

from core.database import now, writing
from labeling.ledger.open_assignments import settle_assignments
from labeling.ledger.tables import assignments, rounds
from tests.labeling.databases import make_engine


def test_a_round_closes_when_each_of_its_assignments_is_answered_or_skipped(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b"])
    about = {"strategy": "random", "seed": 0, "config": {}, "why": "", "chosen_at": now()}
    with writing(engine) as connection:
        connection.execute(
            insert(rounds).values(round_id="round-0001", number=1, sent_at=now(), **about)
        )
        for name in "ab":
            connection.execute(
                insert(assignments).values(
                    round_id="round-0001", sample_id=name, position=0, reason="random",
                    sent_at=now(),
                )
            )  # fmt: skip
    given = pd.DataFrame(
        {"sample_id": ["a", "b"], "round_id": ["round-0001"] * 2, "annotator": ["ann"] * 2,
         "kind": ["answer", "skip"]}
    )  # fmt: skip
    with writing(engine) as connection:
        counts = settle_assignments(connection, given, labelled={"a"}, undecided=set(), ask_again=2)
        ended = dict(
            connection.execute(select(assignments.c.sample_id, assignments.c.outcome))
            .tuples()
            .all()
        )
        assert connection.scalar(select(rounds.c.closed_at)) is not None
    assert ended == {"a": "labelled", "b": "skipped"}
    assert counts == {"skipped": 1, "asked again": 0, "disputed": 0}
