from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, update

from core.database import now, writing
from labeling.ledger.audit_progress import AuditProgress, load_audit_progress
from labeling.ledger.reasons import Origin
from labeling.ledger.tables import assignments, audit, labels, rounds, sample_states, samples
from tests.labeling.databases import make_engine

IDS = [f"sample-{number}" for number in range(8)]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A round of eight, five of them audit samples, before annotators."""
    engine = make_engine(tmp_path, IDS)
    with writing(engine) as connection:
        about = {"strategy": "random", "seed": 0, "config": {}, "why": "test", "chosen_at": now()}
        connection.execute(insert(rounds).values(round_id="round-0001", number=1, **about))
        for number, sample_id in enumerate(IDS):
            mine = {"round_id": "round-0001", "sample_id": sample_id}
            reason = "audit" if number < 5 else "random"
            connection.execute(insert(assignments).values(**mine, position=number, reason=reason))
            if number < 5:
                drawn = {"inclusion_probability": 0.5, "drawn_at": now()}
                drawn |= {"number": number / 10, "part": "gate"}
                connection.execute(insert(audit).values(**mine, **drawn))
    return engine


def progress(engine: Engine) -> AuditProgress:
    with engine.connect() as connection:
        return load_audit_progress(connection, needed=6)


def label(engine: Engine, sample_id: str) -> None:
    settled = {"label": "cat", "trust": 1.0, "annotators": ["ann"], "method": "majority"}
    with writing(engine) as connection:
        row = {"sample_id": sample_id, "settled_at": now(), **settled}
        connection.execute(insert(labels).values(**row))


def close(engine: Engine, sample_id: str, outcome: str) -> None:
    with writing(engine) as connection:
        connection.execute(
            update(assignments)
            .where(assignments.c.sample_id == sample_id)
            .values(closed_at=now(), outcome=outcome)
        )


def test_audit_samples_are_open_until_they_have_a_label(engine: Engine) -> None:
    assert progress(engine) == AuditProgress(needed=6, labelled=0, open=5, left=0)
    label(engine, IDS[0])  # and wanted from a second annotator
    label(engine, IDS[1])
    close(engine, IDS[1], "labelled")
    label(engine, IDS[6])  # no audit sample
    assert progress(engine) == AuditProgress(needed=6, labelled=2, open=3, left=0)


def test_a_skipped_audit_sample_is_missing_again(engine: Engine) -> None:
    close(engine, IDS[0], "skipped")
    assert progress(engine) == AuditProgress(needed=6, labelled=0, open=4, left=0)
    assert progress(engine).missing == 2


def test_a_withdrawn_label_is_no_audit_label_and_its_sample_can_be_asked_again(
    engine: Engine,
) -> None:
    label(engine, IDS[0])
    close(engine, IDS[0], "labelled")
    with writing(engine) as connection:
        connection.execute(update(labels).values(replaced_at=now()))
    assert progress(engine) == AuditProgress(needed=6, labelled=0, open=4, left=1)


def test_each_part_is_counted_by_itself(engine: Engine) -> None:
    with writing(engine) as connection:
        reports = audit.c.sample_id.in_(IDS[3:5])
        connection.execute(update(audit).where(reports).values(part="report"))
        unasked = {"inclusion_probability": 0.2, "drawn_at": now(), "number": 0.1}
        for name, part in ((IDS[6], "gate"), (IDS[7], "report")):
            row = {"sample_id": name, "part": part, **unasked}
            connection.execute(insert(audit).values(**row))
        connection.execute(delete(assignments).where(assignments.c.sample_id.in_(IDS[6:])))
    label(engine, IDS[3])
    label(engine, IDS[0])
    assert progress(engine) == AuditProgress(
        needed=6, labelled=1, open=2, left=1, reported=1, report_open=1, report_left=1
    )
    assert progress(engine).missing_with_report(0.3) == 3 + 1


def test_the_traffic_is_counted_by_itself(engine: Engine) -> None:
    with writing(engine) as connection:
        served = samples.c.sample_id.in_(IDS[:2])
        connection.execute(update(samples).where(served).values(origin="served"))
        where = sample_states.c.sample_id.in_(IDS[:2])
        connection.execute(update(sample_states).where(where).values(origin="served"))
    label(engine, IDS[0])
    label(engine, IDS[2])
    with engine.connect() as connection:
        of_traffic = load_audit_progress(connection, 6, origin=Origin.SERVED)
    assert of_traffic == AuditProgress(needed=6, labelled=1, open=1, left=0)


def test_labels_from_before_there_were_numbers_count_until_there_are_more_others(
    engine: Engine,
) -> None:
    with writing(engine) as connection:
        former = audit.c.sample_id.in_(IDS[:2])
        connection.execute(update(audit).where(former).values(number=None, part=None))
    for name, labelled in zip(IDS[:5], (1, 2, 3, 4, 3), strict=True):
        label(engine, name)
        assert progress(engine).labelled == labelled


@pytest.mark.parametrize(
    ("counts", "per_round", "sentence"),
    [
        (
            (50, 12, 20),
            20,
            "A verdict needs 50 audit labels: 12 are labelled, 20 are asked for now, 18 are still "
            "missing (about 1 more round of this size)",
        ),
        (
            (50, 0, 5),
            5,
            "A verdict needs 50 audit labels: 0 are labelled, 5 are asked for now, 45 are still "
            "missing (about 9 more rounds of this size)",
        ),
        (
            (50, 12, 20),
            None,
            "A verdict needs 50 audit labels: 12 are labelled, 20 are asked for now, 18 are still "
            "missing",
        ),
        (
            (50, 0, 0),
            0,
            "A verdict needs 50 audit labels: 0 are labelled, 0 are asked for now, 50 are still "
            "missing, and rounds like this one ask for none",
        ),
        (
            (50, 30, 20),
            20,
            "A verdict needs 50 audit labels: 30 are labelled, 20 are asked for now",
        ),
        ((50, 51, 4), 4, "A verdict needs 50 audit labels: 51 are labelled"),
    ],
)
def test_the_sentence_has_the_numbers(
    counts: tuple[int, int, int], per_round: int | None, sentence: str
) -> None:
    assert AuditProgress(*counts, left=50).sentence(per_round=per_round) == sentence
