"""Truths on their way: from the service and from files into the record, and on to the labels."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from core import journal
from core.database import writing
from core.workspace import Workspace
from labeling.ledger.tables import answers, audit, labels, samples
from models.serving.erasures import retained_images
from models.serving.feedback import FeedbackRecorder
from models.serving.segments import SegmentWriter
from models.watching import outcome_queries as queries
from tasks.context import open_context
from tasks.feedback import import_feedback, take_in
from tests.models.saved_models import make_workspace, png
from tests.models.serving.test_prediction_store import served

IMAGES = [png(number, side=24) for number in range(4)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Engine]:
    """A workspace whose service answered "cat" to four images."""
    made, engine = make_workspace(tmp_path / "work")
    with (made.root / "hone.toml").open("a") as file:
        file.write("[audit]\nshare = 0.0001\n")  # none of the images is drawn
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    writer = SegmentWriter(made.traffic)
    for number, image in enumerate(IMAGES):
        one = vars(served(number, image)) | {"prediction_id": f"{number:032x}"}
        writer.append([(type(served(0, b""))(**one), image)])
    writer.close()
    return made, engine


def give(place: tuple[Workspace, Engine], *rows: dict[str, Any], request: str = "r") -> None:
    recorder = FeedbackRecorder(place[0].traffic)
    recorder.record(request, list(rows))
    recorder.close()


def truth(number: int, value: str, who: str = "ada", strength: str = "confirmed") -> dict[str, Any]:
    return {"prediction_id": f"{number:032x}", "truth": value, "who": who, "strength": strength}


def sample(number: int) -> str:
    return hashlib.sha256(IMAGES[number]).hexdigest()


def given_answers(engine: Engine) -> list[tuple[str, str, str]]:
    query = select(*answers.c["sample_id", "annotator", "value"])
    with engine.connect() as connection:
        rows = connection.execute(query.where(answers.c.replaced_at.is_(None))).tuples()
        return sorted((row[0], row[1], row[2]) for row in rows)


def watch() -> None:
    """What the flow does before it checks."""
    from models.serving import prediction_store

    ctx = open_context()
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    take_in(ctx)


def test_a_confirmed_truth_becomes_an_answer_and_its_correction_replaces_it(place):
    give(place, truth(0, "dog"), truth(1, "cat", "ben"))
    watch()
    both = [(sample(0), "feedback:ada", "dog"), (sample(1), "feedback:ben", "cat")]
    assert given_answers(place[1]) == sorted(both)
    give(place, truth(0, "eel"), request="later")
    watch()
    watch()
    both[0] = (sample(0), "feedback:ada", "eel")
    assert given_answers(place[1]) == sorted(both)


def test_a_weak_truth_and_one_of_no_class_are_no_answers(place):
    give(place, truth(0, "dog", strength="weak"), truth(1, "fox"), truth(2, "dog"))
    watch()
    assert [row[0] for row in given_answers(place[1])] == [sample(2)]


def test_an_audit_image_is_left_to_annotators_who_do_not_see_the_answer(place):
    give(place, truth(0, "dog", strength="weak"))
    watch()  # its image is a sample now
    with writing(place[1]) as connection:
        row = {"sample_id": sample(0), "inclusion_probability": 1.0, "drawn_at": "2026"}
        there = connection.scalar(select(audit.c.sample_id).where(audit.c.sample_id == sample(0)))
        journal.insert(connection, audit, [] if there else [row])
    give(place, truth(0, "dog"))
    watch()
    assert given_answers(place[1]) == []
    with place[1].connect() as connection:
        assert queries.outcome_counts(connection).judging == 1


def test_an_image_that_is_gone_judges_and_trains_nothing(place, capsys):
    watch()
    for path in place[0].traffic.glob("*.seg"):
        path.unlink()
    give(place, truth(0, "dog"))
    watch()
    assert given_answers(place[1]) == []
    assert "is left out" in capsys.readouterr().out
    with place[1].connect() as connection:
        assert queries.outcome_counts(connection).judging == 1
        assert connection.execute(select(samples)).all() == []


def test_people_who_differ_leave_the_image_without_a_label(place, tmp_path):
    path = tmp_path / "truths.csv"
    lines = [f"{n:032x},{value},{who},confirmed" for n, value, who in
             [(0, "dog", "ada"), (0, "eel", "ben"), (1, "dog", "ada")]]  # fmt: skip
    path.write_text("prediction_id,truth,who,strength\n" + "\n".join(lines))
    import_feedback(path)
    with place[1].connect() as connection:
        settled = connection.execute(select(*labels.c["sample_id", "label"])).tuples().all()
        assert queries.disputed_samples(connection, 10) == [sample(0)]
    assert settled == [(sample(1), "dog")]


def test_a_file_is_taken_once_and_its_bad_rows_are_listed(place, tmp_path, capsys):
    path = tmp_path / "truths.csv"
    path.write_text(
        "prediction_id,truth,who,strength\n"
        f"{0:032x},dog,ada,confirmed\n{9:032x},dog,ada,weak\n{1:032x},,ada,weak\n"
    )
    first, again = import_feedback(path), import_feedback(path)
    assert (first.recorded.new, first.recorded.waiting, first.unknown) == (2, 1, [f"{9:032x}"])
    assert (again.recorded.new, again.recorded.known) == (0, 2)
    assert dict(first.refused) == {"NO_TRUTH": 1}
    printed = capsys.readouterr().out
    assert "line 4: NO_TRUTH" in printed and f"{9:032x}" in printed


def test_a_file_may_name_images(place, tmp_path):
    path = tmp_path / "truths.csv"
    path.write_text(f"sample_id,truth,who,strength\n{sample(2)},eel,ada,confirmed\nnone,eel,,\n")
    result = import_feedback(path)
    assert (result.recorded.new, dict(result.refused)) == (1, {"NOT_SERVED": 1})
    assert given_answers(place[1]) == [(sample(2), "feedback:ada", "eel")]


def test_a_truth_that_was_there_before_its_prediction_was_drained_becomes_an_answer(place):
    give(place, truth(0, "dog"))
    take_in(open_context())
    with place[1].connect() as connection:
        assert queries.outcome_counts(connection).waiting == 1
    watch()
    assert given_answers(place[1]) == [(sample(0), "feedback:ada", "dog")]


def test_an_image_that_is_not_retained_becomes_no_sample_by_feedback(place, capsys):
    with (place[0].root / "hone.toml").open("a") as file:
        file.write("[retention]\nrandom_share = 0.0001\nuncertain_below = 0.0\nper_hour = 1\n")
    with place[1].connect() as connection:
        count = connection.scalar(select(func.count()).select_from(samples))
    assert count == 0
    give(place, *(truth(number, "dog") for number in range(4)))
    watch()
    with place[1].connect() as connection:
        taken = set(connection.scalars(select(samples.c.sample_id)))
        retained = set(connection.scalars(select(retained_images.c.prediction_id)))
        assert queries.outcome_counts(connection).judging == 4
    assert len(retained) == 1 and len(taken) == 1, "as the quota says"
    assert {name for name, _, _ in given_answers(place[1])} == taken
    assert "is not retained by [retention] in hone.toml, and so are 2 more" in (
        capsys.readouterr().out
    )
