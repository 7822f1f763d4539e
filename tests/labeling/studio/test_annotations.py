"""What somebody wrote into one task or annotation keeps no other from being read."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from core.locks import only_writer
from labeling.kinds import KINDS
from labeling.ledger.answers import record_answers
from labeling.ledger.tables import answers, refused_answers
from labeling.studio.annotations import round_of, sample_of, task_of
from labeling.studio.protocol import collect
from tests.fuzz.seeds import CLASSES, annotation, task
from tests.labeling.formats.workspaces import House, make_house, put_pictures

KIND = KINDS["classification"]
DEEP: Any = []
for _ in range(5_000):
    DEEP = [DEEP]


def sent(number: int, **changes: Any) -> Any:
    """A task as the client of Label Studio's API returns it."""
    fields = {**task(number), "updated_at": datetime(2026, 1, 2, tzinfo=UTC), **changes}
    return SimpleNamespace(**fields)


HOSTILE: list[tuple[str, Any]] = [
    ("MALFORMED", "an annotation"),
    ("MALFORMED", None),
    ("MALFORMED", {"id": [1]}),
    ("MALFORMED", {"id": True}),
    ("MALFORMED", {"completed_by": [1]}),
    ("MALFORMED", {"completed_by": {"id": 1}}),
    ("MALFORMED", {"completed_by": 1.0}),
    ("MALFORMED", {"was_cancelled": "false"}),
    ("MALFORMED", {"ground_truth": 1}),
    ("MALFORMED", {"result": {"choices": ["cat"]}}),
    ("MALFORMED", {"result": DEEP}),
    ("MALFORMED", {"result": [{**annotation(1)["result"][0], "value": {"choices": "0"}}]}),
    ("UNKNOWN_CLASS", {"result": [{**annotation(1)["result"][0], "value": {"choices": [True]}}]}),
    ("UNKNOWN_CLASS", {"result": annotation(1, "\ud800")["result"]}),
    ("BAD_TIME", {"updated_at": None}),
    ("BAD_TIME", {"updated_at": "0001-01-01T00:00:00+14:00"}),
    ("BAD_TIME", {"updated_at": "9999-12-31T23:59:59-14:00"}),
    ("BAD_TIME", {"updated_at": 5}),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("collect")
    made = make_house(folder / "workspace", *CLASSES)
    paths = put_pictures(folder, "a.png", "b.png", "c.png")
    (folder / "a.csv").write_text("image,label\n" + "".join(f"{one.name},cat\n" for one in paths))
    made.take(folder / "a.csv")
    return made


def collected(house: House, tasks: list[Any], source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that were recorded of these tasks by sample, and the reasons of those refused."""
    found = collect(
        map(task_of, tasks), source=source, users={}, classes=CLASSES, kind=KIND, watermark=None
    )
    with only_writer(house.engine, "answers") as token:
        record_answers(
            house.engine, token, found.answers, source=source, read=found.read,
            refused=found.refused, classes=CLASSES, kind=KIND,
        )  # fmt: skip
    with house.engine.connect() as connection:
        given = select(*answers.c["sample_id", "value"]).where(answers.c.source == source)
        bad = select(*refused_answers.c["external_id", "reason"])
        return (
            dict(connection.execute(given).tuples().all()),
            dict(connection.execute(bad.where(refused_answers.c.source == source)).tuples().all()),
        )


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_one_hostile_annotation_is_refused_and_the_others_are_recorded(
    house: House, number: int
) -> None:
    reason, change = HOSTILE[number]
    with house.engine.connect() as connection:
        samples = sorted(set(connection.scalars(select(answers.c.sample_id))))[:3]
    tasks = [sent(at, data={**task(at)["data"], "sample_id": one})
             for at, one in enumerate(samples)]  # fmt: skip
    hostile = {**annotation(1), **change} if isinstance(change, dict) else change
    tasks[1].annotations = [hostile]
    given, refused = collected(house, tasks, f"hostile-{number}")
    assert given == {samples[0]: CLASSES[0], samples[2]: CLASSES[2]}
    assert list(refused.values()) == [reason]
    assert collected(house, tasks, f"hostile-{number}") == (given, refused)  # and once only


@pytest.mark.parametrize(
    "data",
    [None, [], "x", {"sample_id": "a\0b"}, {"sample_id": "\ud800"}, {"sample_id": ["a"]},
     {"sample_id": "unknown", "round": {"a": 1}}, {"sample_id": ""}, {"sample_id": "a b"}],
)  # fmt: skip
def test_a_task_with_other_data_is_of_no_sample_of_ours(house: House, data: Any) -> None:
    given, refused = collected(house, [sent(1, data=data)], f"data-{data!r}")
    assert (given, list(refused.values())) == ({}, ["UNKNOWN_SAMPLE"])


def test_a_name_that_no_address_can_hold_is_of_no_sample_of_ours() -> None:
    """It went into the address of each later reading, which the server then refused."""
    assert sample_of(task_of(sent(1, data={"sample_id": "a" * 64}))) == "a" * 64
    assert sample_of(task_of(sent(1, data={"sample_id": "a" * 70_000}))) is None


def test_parts_of_a_task_of_another_type_count_as_absent() -> None:
    made = task_of(sent(1, data=[1], overlap="2", total_annotations="many", annotations="none"))
    assert (made["data"], made["overlap"], made["answers"]) == ({}, 1, 0)
    assert made["annotations"] == ["none"]
    assert (sample_of(made), round_of(made)) == (None, None)


@pytest.mark.parametrize("change", [{"id": None}, {"id": "1"}, {"updated_at": "yesterday"}])
def test_an_answer_that_no_label_studio_sends_is_a_named_refusal(change: Any) -> None:
    with pytest.raises(ValueError, match="never sends; check LABEL_STUDIO_URL"):
        task_of(sent(1, **change))


@pytest.mark.parametrize(
    ("lead_time", "seconds"), [(2.5, 2.5), ("2.5", 2.5), (10**400, None), ([], None), (-1, None)]
)
def test_a_duration_that_is_none_does_no_harm(lead_time: Any, seconds: float | None) -> None:
    given = task_of(sent(1, annotations=[{**annotation(1), "lead_time": lead_time}]))
    found = collect([given], source="s", users={}, classes=CLASSES, kind=KIND, watermark=None)
    assert found.answers["lead_time"].tolist() == [seconds]
