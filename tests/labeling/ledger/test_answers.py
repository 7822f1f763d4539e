from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, select

from core.locks import LockLost, Token, only_writer
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.kinds.classification import Classification
from labeling.ledger.answers import (
    ANSWER_COLUMNS,
    CHECKED,
    record_answers,
    refuse_lost_classes,
)
from labeling.ledger.pending import pending_samples
from labeling.ledger.tables import answers, labels, refused_answers
from labeling.ledger.watermarks import watermark_of
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog"]


def said(
    sample: str, who: str, value: str | None, *, at: str = "1", kind: str = "answer"
) -> dict[str, Any]:
    return dict(
        zip(
            ANSWER_COLUMNS,
            ["here", f"{sample}:{who}", sample, who, kind, value, 1.0, at, None],
            strict=True,
        )
    )


def record(
    engine: Engine,
    *rows: dict[str, Any],
    read: set[str] | None = None,
    source: str = "here",
    classes: Sequence[str] = CLASSES,
    **more: Any,
) -> dict[str, int]:
    found = pd.DataFrame(rows, columns=ANSWER_COLUMNS)
    with only_writer(engine, "answers") as token:
        return record_answers(
            engine,
            token,
            found,
            source=source,
            classes=classes,
            read=set(found["sample_id"]) if read is None else read,
            **more,
        )


def settle(engine: Engine, needed: int = 1) -> dict[str, int]:
    with only_writer(engine, "answers") as token:
        return settle_labels(engine, token, SettlePolicy(answers_needed=needed), CLASSES)


def in_force(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(select(labels).where(labels.c.replaced_at.is_(None)))
        return {row.sample_id: row.label for row in rows}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, ["a", "b", "c"])


def test_the_same_answers_twice_are_recorded_once(engine: Engine) -> None:
    assert record(engine, said("a", "ann", "cat"))["new"] == 1
    assert record(engine, said("a", "ann", "cat")) == {"withdrawn": 0, "new": 0, "refused": 0}


def test_an_edit_is_a_new_version_and_the_old_one_stays(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    record(engine, said("a", "ann", "dog", at="2"))
    with engine.connect() as connection:
        versions = connection.execute(select(answers.c.value, answers.c.replaced_at)).all()
    assert [(v.value, v.replaced_at is None) for v in versions] == [("cat", False), ("dog", True)]


def test_two_versions_in_one_reading_come_one_after_the_other(engine: Engine) -> None:
    both = said("a", "ann", "cat", at="1"), said("a", "ann", "dog", at="2")
    assert record(engine, *both)["new"] == 2
    with engine.connect() as connection:
        versions = connection.execute(select(answers.c.value, answers.c.replaced_at)).all()
    assert [(v.value, v.replaced_at is None) for v in versions] == [("cat", False), ("dog", True)]


def test_each_refusal_is_kept_beside_those_that_the_source_refused(engine: Engine) -> None:
    theirs = {"external_id": "b:1", "sample_id": "b", "reason": "EMPTY", "detail": "nothing chosen"}
    for value in ("zebra", "lynx"):
        counts = record(engine, said("a", "ann", value), refused=pd.DataFrame([theirs]))
        assert counts["refused"] == (2 if value == "zebra" else 1)
    with engine.connect() as connection:
        kept = connection.execute(select(*refused_answers.c["external_id", "detail"])).all()
    assert sorted(row.external_id for row in kept) == ["a:ann", "a:ann", "b:1"]


def test_an_answer_deleted_at_its_source_is_withdrawn_and_its_label_too(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    settle(engine)
    assert record(engine, read={"a"})["withdrawn"] == 1
    assert settle(engine)["withdrawn"] == 1
    assert in_force(engine) == {}


def test_an_answer_that_comes_back_as_it_was_counts_again(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    record(engine, read={"a"})
    assert record(engine, said("a", "ann", "cat"))["new"] == 1
    settle(engine)
    assert in_force(engine) == {"a": "cat"}


def test_an_answer_given_anew_after_an_edit_is_a_version_of_its_own(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat", at="1"))
    record(engine, said("a", "ann", "dog", at="2"))
    assert record(engine, said("a", "ann", "cat", at="3"))["new"] == 1
    with engine.connect() as connection:
        columns = answers.c["value", "updated_at", "replaced_at"]
        versions = connection.execute(select(*columns).order_by(answers.c.seq)).all()
    assert [(v.value, v.updated_at, v.replaced_at is None) for v in versions] == [
        ("cat", "1", False), ("dog", "2", False), ("cat", "3", True),
    ]  # fmt: skip


def test_an_answer_is_withdrawn_once_and_keeps_the_time_of_it(engine: Engine) -> None:
    when = select(answers.c.replaced_at)
    record(engine, said("a", "ann", "cat"))
    assert record(engine, read={"a"})["withdrawn"] == 1
    with engine.connect() as connection:
        first = connection.scalar(when)
    settle(engine)
    assert record(engine, read={"a"})["withdrawn"] == 0
    with engine.connect() as connection:
        assert first is not None and connection.scalar(when) == first
        assert pending_samples(connection) == set()


def test_samples_that_were_not_read_keep_their_answers(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    assert record(engine, said("b", "ann", "dog"), read={"b"})["withdrawn"] == 0


def test_what_one_source_no_longer_has_of_a_sample_says_nothing_about_another(
    engine: Engine,
) -> None:
    record(engine, said("a", "ann", "cat"))
    assert record(engine, read={"a"}, source="there")["withdrawn"] == 0
    settle(engine)
    assert in_force(engine) == {"a": "cat"}


def test_two_sources_may_use_the_same_id_for_two_answers(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    other = {**said("a", "ann", "dog"), "source": "there"}
    assert record(engine, other, source="there")["new"] == 1
    unknown = said("b", "ann", "zebra")
    assert record(engine, unknown)["refused"] == 1
    assert record(engine, {**unknown, "source": "there"}, source="there")["refused"] == 1
    with engine.connect() as connection:
        standing = select(answers.c.value).where(answers.c.replaced_at.is_(None))
        assert sorted(connection.scalars(standing)) == ["cat", "dog"]


def test_a_skip_is_no_label(engine: Engine) -> None:
    record(engine, said("a", "ann", None, kind="skip"))
    settle(engine)
    assert in_force(engine) == {}


def test_unknown_classes_and_unknown_samples_are_refused_with_their_reason(engine: Engine) -> None:
    counts = record(
        engine, said("a", "ann", "zebra"), said("nobody", "ann", "cat"), said("b", "ann", "dog")
    )
    assert counts == {"withdrawn": 0, "new": 1, "refused": 2}
    with engine.connect() as connection:
        reasons = connection.execute(
            select(refused_answers.c.reason, refused_answers.c.detail)
        ).all()
    assert {row.reason for row in reasons} == {"UNKNOWN_CLASS", "UNKNOWN_SAMPLE"}
    details = {row.reason: row.detail for row in reasons}
    assert "'zebra' on sample a; the classes are cat, dog" in details["UNKNOWN_CLASS"]
    assert "on sample nobody; it is not in this workspace" in details["UNKNOWN_SAMPLE"]
    assert record(engine, said("a", "ann", "zebra"))["refused"] == 0, (
        "known refusals are not repeated"
    )


def test_the_watermark_moves_with_the_answers(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"), watermark="2026-01-01")
    with engine.connect() as connection:
        assert watermark_of(connection, "here") == "2026-01-01"


def test_a_writer_that_was_overtaken_writes_nothing(engine: Engine) -> None:
    with only_writer(engine, "answers") as token:
        old = Token(token.name, token.number - 1)
        with pytest.raises(LockLost, match="overtaken"):
            record_answers(
                engine,
                old,
                pd.DataFrame([said("a", "ann", "cat")]),
                source="here",
                classes=CLASSES,
                read={"a"},
            )
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(answers)) == 0


def test_a_label_that_changes_leaves_its_history(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    settle(engine)
    record(engine, said("a", "ann", "dog", at="2"))
    assert settle(engine)["changed"] == 1
    assert in_force(engine) == {"a": "dog"}
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(labels)) == 2


def test_two_who_disagree_settle_nothing_until_one_gives_in(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"), said("a", "bob", "dog"))
    assert settle(engine, needed=2)["settled"] == 0
    record(engine, said("a", "ann", "cat"), said("a", "bob", "cat", at="2"))
    settle(engine, needed=2)
    assert in_force(engine) == {"a": "cat"}


OPINION = st.tuples(
    st.sampled_from("abc"), st.sampled_from(["ann", "bob"]), st.sampled_from([*CLASSES, None])
)


@settings(max_examples=25)
@given(st.lists(st.lists(OPINION, max_size=4), max_size=5))
def test_the_ledger_says_what_the_source_says_now(
    tmp_path_factory: pytest.TempPathFactory, passes: list[list[tuple[str, str, str | None]]]
) -> None:
    """Whatever is answered, edited and deleted: in force is the last whole set that was read."""
    engine = make_engine(tmp_path_factory.mktemp("ledger"), ["a", "b", "c"])
    last: dict[tuple[str, str], str | None] = {}
    for number, opinions in enumerate(passes):
        last = {(sample, who): value for sample, who, value in opinions}
        rows = [
            said(sample, who, value, at=str(number), kind="answer" if value else "skip")
            for (sample, who), value in last.items()
        ]
        record(engine, *rows, read={"a", "b", "c"})
        with engine.connect() as connection:
            standing = connection.execute(
                select(answers).where(answers.c.replaced_at.is_(None))
            ).all()
        assert {(row.sample_id, row.annotator): row.value for row in standing} == last


def test_a_class_that_people_chose_cannot_leave_hone_toml(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"), said("b", "ann", "cat"), said("c", "ann", "dog"))
    with engine.connect() as connection:
        refuse_lost_classes(connection, [*CLASSES, "newt"])
        with pytest.raises(ValueError, match=r"'cat' is gone .* but 2 answers .* put it back"):
            refuse_lost_classes(connection, ["dog", "kitten"])
    record(engine, read={"a", "b"})
    with engine.connect() as connection:
        refuse_lost_classes(connection, ["dog"])  # nobody says it any more


def test_answers_are_read_for_their_classes_only_where_the_classes_changed(engine: Engine) -> None:
    record(engine, said("a", "ann", "cat"))
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *_: statements.append(sql))
    with engine.connect() as connection:
        refuse_lost_classes(connection, CLASSES)
    assert not [sql for sql in statements if "FROM answers" in sql]


def test_a_class_taken_back_after_it_was_chosen_is_noticed(engine: Engine) -> None:
    """Classes A were checked, answers of B came, and `hone.toml` is A again."""
    record(engine, said("a", "ann", "cat"))
    record(engine, said("b", "ann", "newt"), classes=[*CLASSES, "newt"])
    with engine.connect() as connection, pytest.raises(ValueError, match="'newt' is gone"):
        refuse_lost_classes(connection, CLASSES)
    record(engine, said("c", "ann", "cat"))  # of CLASSES, and does not make the rest so
    with engine.connect() as connection:
        assert watermark_of(connection, CHECKED) is None
        with pytest.raises(ValueError, match="'newt' is gone"):
            refuse_lost_classes(connection, CLASSES)


class Words(Classification):
    """Labels of several classes, joined by a plus sign."""

    def classes_of(self, value: str) -> set[str]:
        return set(value.split("+"))


def test_the_label_kind_decides_which_values_can_be_recorded(engine: Engine) -> None:
    rows = [said("a", "ann", "cat+dog"), said("b", "ann", "cat+newt"), said("c", "ann", None)]
    assert record(engine, *rows, kind=Words()) == {"withdrawn": 0, "new": 1, "refused": 2}
    with engine.connect() as connection:
        refuse_lost_classes(connection, CLASSES, Words())
        with pytest.raises(ValueError, match=r"'dog' is gone .* but 1 answers"):
            refuse_lost_classes(connection, ["cat"], Words())
