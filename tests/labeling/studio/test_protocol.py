"""Label Studio's JSON becomes our tables and the other way round, whatever strangers put in it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.hone_toml import LabelClass
from labeling.batches.batch import Batch
from labeling.batches.quality_control import mask_for_annotators
from labeling.kinds import KINDS
from labeling.ledger.answers import ANSWER_COLUMNS
from labeling.studio import protocol as wire
from models.serving.label_studio import is_blind
from tests.labeling.studio.outgoing import outgoing

CLASSES = ["cat", "dog"]
KIND = KINDS["classification"]
USERS = {1: "ann@example.com", 2: "ben@example.com"}


def batch(**more) -> pd.DataFrame:
    row = {"sample_id": "aa", "file": "images/a b.png", "pre_annotation": "cat", "confidence": 0.25,
           "pre_annotation_model": "m1"}  # fmt: skip
    return outgoing([{**row, **more}])


def chosen(*names, **more) -> dict:
    return {"from_name": "label", "to_name": "image", "type": "choices",
            "value": {"choices": list(names)}, **more}  # fmt: skip


def annotation(**more) -> dict:
    return {"id": 7, "completed_by": 1, "result": [chosen("cat")], "was_cancelled": False,
            "ground_truth": False, "lead_time": 2.5,
            "updated_at": "2026-01-02T03:04:05.000006Z", **more}  # fmt: skip


def task(*annotations, **content) -> dict:
    return {"id": 3, "data": {"sample_id": "aa", **content}, "annotations": list(annotations)}


def collected(*tasks) -> wire.Collected:
    return wire.collect(
        tasks, source="label-studio:5", users=USERS, classes=CLASSES, kind=KIND, watermark="later"
    )


@given(st.text())
def test_a_project_title_has_3_to_50_characters(title):
    assert 3 <= len(wire.project_title(title)) <= 50


def test_a_task_shows_the_image_and_the_guess_and_nothing_that_gives_the_truth_away():
    chosen_for = {"reason": "gold", "score": 0.9, "probs": [{"dog": 1.0}]}
    gold = Batch.of(["aa"], pre_annotation="cat", confidence=0.25, pre_annotation_model="m1",
                    **chosen_for)  # fmt: skip
    shown = mask_for_annotators(gold, np.random.default_rng(0))
    rows = wire.outgoing_tasks("round-0001", shown, {"aa": "images/a b.png"})
    (made,) = wire.tasks_of(rows, CLASSES, KIND)
    assert made["data"] == {
        "image": "/data/local-files/?d=images/a%20b.png", "sample_id": "aa", "round": "round-0001",
        "stage": "queue", "why": "drawn at random", "similar": "",
    }  # fmt: skip
    assert made["predictions"] == [
        {"model_version": "m1", "score": 0.25, "result": [chosen("cat")]}
    ]
    assert not {"dog", "gold"} & set(re.findall(r"\w+", json.dumps(made)))


def test_a_task_of_gold_has_the_shape_of_any_other():
    both = Batch.of(["aa", "bb"], reason=["gold", "margin"], pre_annotation="cat", confidence=0.25,
                    pre_annotation_model="m1")  # fmt: skip
    shown = mask_for_annotators(both, np.random.default_rng(0))
    rows = wire.outgoing_tasks("round-0001", shown, dict.fromkeys(["aa", "bb"], "a.png"))
    gold, other = wire.tasks_of(rows, CLASSES, KIND)
    other["data"]["sample_id"] = "aa"
    assert gold == other


def test_the_most_similar_image_is_shown_by_its_file():
    chosen_now = Batch.of(["aa", "bb"], reason="margin", most_similar=["cc", None])
    shown = mask_for_annotators(chosen_now, np.random.default_rng(0))
    rows = wire.outgoing_tasks("round-0001", shown, {"aa": "a.png", "bb": "b.png", "cc": "c.png"})
    similar = [task["data"]["similar"] for task in wire.tasks_of(rows, CLASSES, KIND)]
    assert similar == ["/data/local-files/?d=c.png", ""]


def test_a_blind_task_has_its_place_in_the_queue_and_no_guess():
    (made,) = wire.tasks_of(batch(blind=True), CLASSES, KIND)
    assert made["predictions"] == [{"model_version": "m1", "score": 0.25, "result": []}]
    assert "cat" not in json.dumps(made)


def test_a_task_of_a_duel_says_nothing_of_either_model_and_no_model_fills_it_in():
    asked = Batch.of(["aa"], reason="duel", blind=True)
    shown = mask_for_annotators(asked, np.random.default_rng(0), stage="duel-3")
    rows = wire.outgoing_tasks("round-0001", shown, {"aa": "images/a.png"})
    assert wire.pre_annotation_model(rows) is None
    (made,) = wire.tasks_of(rows, CLASSES, KIND)
    assert made["data"] == {
        "image": "/data/local-files/?d=images/a.png", "sample_id": "aa", "round": "round-0001",
        "stage": "duel-3", "why": "two versions of the model answer differently", "similar": "",
    }  # fmt: skip
    assert made["predictions"] == [{"model_version": "none", "score": 0.0, "result": []}]
    assert is_blind(made)  # for the service, which pre-annotates what comes without


def test_instructions_have_a_line_and_the_examples_of_each_class():
    classes = [LabelClass("cat", "1", "any <cat>"), LabelClass("dog & co", "")]
    text = wire.instructions("Who ate it?", classes, {"cat": ["staged/a b.png"]})
    assert "<h3>Who ate it?</h3>" in text
    assert "<b>cat</b> (key 1): any &lt;cat&gt;" in text
    assert '<img src="/data/local-files/?d=staged/a%20b.png" width="96"' in text
    assert "<li><b>dog &amp; co</b></li>" in text


def test_a_cold_start_has_no_guesses():
    cold = batch(pre_annotation=None, confidence=None, pre_annotation_model=None)
    assert wire.tasks_of(cold, CLASSES, KIND)[0]["predictions"] == []
    assert wire.pre_annotation_model(cold) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pre_annotation": "zebra"}, "the pre-annotation 'zebra' of 'm1'"),
        ({"pre_annotation_model": None}, "a pre-annotation needs its model"),
        ({"confidence": 1.5}, "the confidence 1.5"),
        ({"confidence": float("inf")}, "the confidence inf"),
        ({"confidence": None}, "the confidence None"),
    ],
)
def test_a_guess_that_cannot_be_shown_is_named_with_its_sample(wrong, words):
    with pytest.raises(ValueError, match=f"sample aa: .*{words}"):
        wire.tasks_of(batch(**wrong), CLASSES, KIND)


def test_a_batch_names_each_sample_once_and_one_model():
    doubled = pd.concat([batch(), batch(pre_annotation_model="m2")])
    with pytest.raises(ValueError, match=r"two rows with the key .*'aa'"):
        wire.tasks_of(doubled, CLASSES, KIND)
    with pytest.raises(ValueError, match="pre-annotations of m1, m2"):
        wire.pre_annotation_model(doubled)
    with pytest.raises(ValueError, match="lacks file"):
        wire.tasks_of(batch().drop(columns="file"), CLASSES, KIND)
    with pytest.raises(ValueError, match="has truth, not declared"):
        wire.tasks_of(batch().assign(truth="dog"), CLASSES, KIND)


def test_an_answer_comes_in_with_who_when_and_what():
    found = collected(task(annotation(), round="round-0007"))
    assert list(found.answers.columns) == ANSWER_COLUMNS
    assert found.answers.loc[0].to_dict() == {
        "source": "label-studio:5", "external_id": "aa:7", "sample_id": "aa",
        "annotator": "ann@example.com", "kind": "answer", "value": "cat", "lead_time": 2.5,
        "updated_at": "2026-01-02T03:04:05.000006Z", "round_id": "round-0007",
    }  # fmt: skip
    assert (found.read, len(found.refused), found.watermark) == ({"aa"}, 0, "later")


def test_a_skip_is_no_label_even_with_a_preselected_result():
    found = collected(task(annotation(was_cancelled=True)))
    assert found.answers[["kind", "value"]].to_numpy().tolist() == [["skip", None]]


def test_a_sample_without_annotations_was_read_too():
    found = collected(task(), {**task(annotation(id=9)), "id": 4, "data": {"sample_id": "bb"}})
    assert found.read == {"aa", "bb"}
    assert found.answers["sample_id"].tolist() == ["bb"]


def test_whoever_left_is_kept_apart_from_whoever_is_unknown():
    found = collected(task(annotation(completed_by=None), annotation(id=8, completed_by=99)))
    assert found.answers["annotator"].tolist() == ["deleted-user", "user-99"]


def test_answers_come_in_the_order_of_time_also_on_a_full_second():
    late = annotation(id=1, updated_at="2026-01-02T03:04:05.5Z")
    early = annotation(id=2, updated_at="2026-01-02T03:04:05Z")
    assert collected(task(late, early)).answers["external_id"].tolist() == ["aa:2", "aa:1"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([chosen("zebra")], "UNKNOWN_CLASS"),
        ([chosen(["cat"])], "UNKNOWN_CLASS"),
        ([chosen("cat", "dog")], "TWO_CHOICES"),
        ([chosen("cat"), chosen("cat")], "TWO_CHOICES"),
        ([], "EMPTY"),
        ([chosen()], "EMPTY"),
        ([chosen("cat", value=None)], "MALFORMED"),
        ([chosen(value={"choices": "cat"})], "MALFORMED"),  # a text is no list of its letters
        ([chosen("cat", from_name="other")], "WRONG_CONTROL"),
        ([chosen("cat", type="labels")], "WRONG_CONTROL"),
        ([chosen("cat"), {"type": "relation"}], "WRONG_CONTROL"),
        (None, "MALFORMED"),
        ("cat", "MALFORMED"),
        ([["cat"]], "MALFORMED"),
    ],
)
def test_a_result_that_can_be_no_label_is_refused_with_its_reason_and_task(result, reason):
    found = collected(task(annotation(result=result)))
    assert len(found.answers) == 0
    (row,) = found.refused.to_dict("records")
    assert (row["reason"], row["external_id"], row["sample_id"]) == (reason, "aa:7", "aa")
    assert row["detail"].startswith("task 3: ")
    assert found.read == {"aa"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON | st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(chosen(), JSON))))
def test_no_result_whatever_is_in_it_stops_the_reading_of_the_others(result):
    found = collected(task(annotation(result=result), annotation(id=8)))
    assert "aa:8" in set(found.answers["external_id"])
    assert len(found.answers) + len(found.refused) == 2


def test_a_star_is_a_final_word_and_a_starred_skip_is_a_skip():
    found = collected(
        task(annotation(ground_truth=True), annotation(id=8, ground_truth=True, was_cancelled=True))
    )
    assert found.answers["kind"].tolist() == ["verdict", "skip"]
    assert found.answers["value"].tolist() == ["cat", None]


def test_ground_truth_of_nobody_and_strangers_tasks_are_refused_not_lost():
    stranger = {"id": 4, "data": {"image": "x"}, "annotations": [annotation()]}
    nobody = annotation(ground_truth=True, completed_by=None)
    found = collected(task(nobody), stranger)
    assert found.refused["reason"].tolist() == ["GROUND_TRUTH", "UNKNOWN_SAMPLE"]
    assert found.refused["external_id"].tolist() == ["aa:7", "task-4:7"]
    assert found.refused["sample_id"].tolist() == ["aa", None]
    assert found.read == {"aa"}


def test_a_refused_answer_that_changes_is_another_refusal():
    first = collected(task(annotation(result=[chosen("zebra")]))).refused
    again = collected(task(annotation(result=[chosen("zebra")]))).refused
    other = collected(task(annotation(result=[chosen("gnu")]))).refused
    assert first["digest"][0] == again["digest"][0] != other["digest"][0]


def test_every_name_somebody_chose_is_found_also_in_what_was_skipped():
    tasks = [task(annotation(result=[chosen("a", "b")])), task(annotation(result=None)),
             task(annotation(result=[chosen("c")], was_cancelled=True))]  # fmt: skip
    assert wire.classes_chosen(tasks, KIND) == {"a", "b", "c"}


def test_times_are_in_the_one_form_that_the_filters_take():
    assert wire.earlier("2026-01-01T00:00:03.000000Z", 5) == "2025-12-31T23:59:58.000000Z"
    asked = json.loads(wire.query(wire.changed_since("t"), order="tasks:updated_at"))
    assert asked["filters"]["items"][0]["value"] == "t"
    assert asked["ordering"] == ["tasks:updated_at"]
