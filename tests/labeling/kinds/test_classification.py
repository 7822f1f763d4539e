"""One class for the whole image, in Label Studio's terms and in ours."""

from typing import Any
from xml.etree.ElementTree import fromstring

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.hone_toml import LABEL_KINDS, LabelClass
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import resolve
from labeling.formats import READERS, WRITERS
from labeling.kinds import KINDS
from labeling.kinds.classification import Classification
from labeling.kinds.kind import UnusableAnswer
from labeling.ledger.settlement import LedgerState
from labeling.quality.agreement import kappas

KIND = KINDS["classification"]
CLASSES = ["cat", "dog"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_hone_toml_knows_the_kinds_that_exist_and_each_names_formats_that_exist():
    assert set(LABEL_KINDS) == set(KINDS)
    for kind in KINDS.values():
        assert set(kind.formats) <= READERS.keys() | WRITERS.keys()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)))
def test_any_class_name_survives_the_screens_xml(names):
    screen = fromstring(KIND.screen([LabelClass(name, "1", hint=name) for name in names]))
    assert [choice.get("value") for choice in screen.iter("Choice")] == names


def test_a_choice_has_its_hotkey_only_if_the_class_has_one():
    screen = fromstring(KIND.screen([LabelClass("cat", "1"), LabelClass("dog", "")]))
    assert [choice.attrib for choice in screen.iter("Choice")] == [
        {"value": "cat", "hotkey": "1"}, {"value": "dog"}
    ]  # fmt: skip
    (choices,) = screen.iter("Choices")
    assert (choices.attrib["choice"], choices.attrib["required"]) == ("single", "true")


@given(st.text(min_size=1))
def test_a_value_comes_back_from_its_result(name):
    result = KIND.result_of(name)
    assert KIND.value_of(result, [name]) == KIND.value_of_export(result) == name
    assert KIND.classes_in(result) == {name}


@given(JSON)
def test_whatever_a_result_is_it_is_a_value_or_refused_with_a_reason(result):
    KIND.classes_in(result)
    for read in (lambda: KIND.value_of(result, CLASSES), lambda: KIND.value_of_export(result)):
        try:
            assert isinstance(read(), str)
        except UnusableAnswer as error:
            assert error.reason and error.detail


@pytest.mark.parametrize("flat", ["cat", ["cat"], {"choices": ["cat"]}, [{"choices": ["cat"]}]])
def test_what_json_min_has_in_the_place_of_a_result_is_read(flat):
    assert KIND.value_of_export(flat) == "cat"


def test_the_classes_of_a_parsed_screen_are_those_of_our_control():
    controls = {"label": {"labels": ["cat"]}, "mood": {"labels": ["sad"]}}
    assert KIND.classes_on_screen(controls) == {"cat"}
    assert KIND.classes_on_screen({}) == set()


def test_two_values_agree_or_they_do_not():
    assert (KIND.agreement("cat", "cat"), KIND.agreement("cat", "dog")) == (1.0, 0.0)


def test_answers_are_resolved_or_asked_again():
    answers = pd.DataFrame(
        {"seq": [1, 2, 3], "sample_id": ["a", "b", "b"], "annotator": ["x", "x", "y"],
         "value": ["cat", "cat", "dog"]}
    )  # fmt: skip
    labels = KIND.resolve(answers, SettlePolicy(), classes=CLASSES)
    assert labels.set_index("sample_id")["label"].to_dict() == {"a": "cat", "b": None}


class Other(Classification):
    """A kind that settles and compares in a way of its own."""

    def resolve(self, answers: pd.DataFrame, policy: SettlePolicy, **given: Any) -> pd.DataFrame:
        return super().resolve(answers, policy, **given).assign(label="dog")

    def agreement(self, one: str, other: str) -> float:
        return 0.25


def test_settling_and_agreement_are_those_of_the_kind():
    answers = pd.DataFrame(
        {"seq": [1, 2], "sample_id": ["a", "a"], "annotator": ["x", "y"], "kind": "answer",
         "value": ["cat", "cat"]}
    )  # fmt: skip
    nothing = pd.Series(dtype=object)
    state = LedgerState(answers, probs=pd.DataFrame(columns=CLASSES), gold=nothing)
    assert resolve(state, SettlePolicy(), CLASSES, Other())["label"].to_dict() == {"a": "dog"}
    assert resolve(state, SettlePolicy(), CLASSES)["label"].to_dict() == {"a": "cat"}
    assert kappas(answers, Other())["agreed"].tolist() == [0.25]


def test_two_names_that_begin_alike_are_two_choices() -> None:
    long = "a class whose name is longer than what a message shows of it, as in a taxonomy " * 2
    with pytest.raises(UnusableAnswer, match="were chosen"):
        KIND.value_of_export([{"choices": [long + "one", long + "two"]}])
    assert KIND.value_of_export([{"choices": [long, long]}]) == long
