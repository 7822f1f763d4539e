import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.batches.batch import PRE_ANNOTATIONS, Batch
from labeling.batches.quality_control import (
    SHOWN,
    QualityControlConfig,
    add_quality_controls,
    mask_for_annotators,
    pick_gold,
)
from labeling.batches.reasons import WHY, sentences
from labeling.ledger.reasons import Reason
from labeling.strategies import STRATEGIES

GUESSED = {"pre_annotation": "cat", "pre_annotation_model": "m1"}


def batch_of(size: int) -> Batch:
    return Batch.of(
        [f"sample-{n:03}" for n in range(size)],
        reason=["audit" if n < size // 10 else "margin" for n in range(size)],
        score=np.linspace(1, 0.5, size),
        confidence=np.linspace(0.3, 0.6, size),
        **GUESSED,
    )


def gold_of(size: int, asked: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": [f"gold-{n:03}" for n in range(size)], "asked": asked})


def made(size: int = 50, seed: int = 0, **config: float) -> Batch:
    rng = np.random.default_rng(seed)
    policy = QualityControlConfig(**config)  # type: ignore[arg-type]
    turn = pick_gold(gold_of(20), size, policy, rng)["sample_id"].tolist()
    gold = Batch.of(turn, reason="gold", confidence=0.99, **GUESSED)
    return add_quality_controls(batch_of(size), gold, policy, rng)


def shown_of(batch: Batch, seed: int) -> pd.DataFrame:
    """What annotators are shown, with the reason that they are not shown."""
    shown = mask_for_annotators(batch, np.random.default_rng(seed))
    assert list(shown) == list(SHOWN.columns)
    assert shown["sample_id"].tolist() == batch.sample_ids
    return shown.assign(reason=batch.rows["reason"])


@given(
    st.integers(1, 80), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1)
)
def test_shares_are_kept_and_nobody_is_lost_or_doubled(size, gold, blind, overlap, seed):
    shares = {"gold_share": gold, "blind_share": blind, "overlap_share": overlap}
    mixed = made(size, seed, **shares, overlap=3).rows
    expected = min(20, int(np.ceil(round(size * gold, 9))))
    assert (mixed["reason"] == "gold").sum() == expected
    assert set(batch_of(size).sample_ids) <= set(mixed["sample_id"])
    assert mixed["sample_id"].is_unique
    assert mixed["position"].tolist() == list(range(len(mixed)))
    assert mixed["blind"].sum() == int(np.ceil(round(len(mixed) * blind, 9)))
    assert (mixed["required_annotators"] == 3).sum() == int(np.ceil(round(len(mixed) * overlap, 9)))


def test_the_same_seed_gives_the_same_queue():
    first, again, other = (made(seed=seed, gold_share=0.2).rows for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_the_others_keep_their_order():
    mixed = made(gold_share=0.3).rows
    others = mixed.loc[mixed["reason"] != "gold", "sample_id"].tolist()
    assert others == batch_of(50).sample_ids


def test_gold_that_was_asked_least_comes_first():
    gold = pd.concat([gold_of(3, asked=2), gold_of(5).assign(sample_id=[*"abcde"])])
    turn = pick_gold(gold, 100, QualityControlConfig(gold_share=0.05), np.random.default_rng(0))
    assert sorted(turn["sample_id"]) == [*"abcde"]


def test_without_a_guess_there_is_nothing_to_hide():
    batch = batch_of(20).with_pre_annotations(PRE_ANNOTATIONS.empty())
    gold = Batch.of(["g0", "g1", "g2"], reason="gold")
    mixed = add_quality_controls(
        batch, gold, QualityControlConfig(blind_share=1.0), np.random.default_rng(0)
    )
    assert len(mixed) == 23
    assert not mixed.rows["blind"].any()
    shown = shown_of(mixed, 0)
    assert set(shown["why"]) == {"drawn at random", WHY["margin"]}


def test_gold_cannot_be_told_from_the_rest():
    shown = shown_of(made(gold_share=0.2, blind_share=0), 1)
    gold = shown[shown["reason"] == "gold"]
    others = shown[shown["reason"] == "margin"]
    assert set(gold["stage"]) == set(others["stage"]) == {"queue"}
    assert gold["confidence"].between(others["confidence"].min(), others["confidence"].max()).all()
    assert set(gold["why"]) == set(others["why"]) == {WHY["margin"]}
    assert not shown["why"].str.contains("gold|audit").any()


def test_before_the_first_model_each_has_the_reason_it_was_chosen_for():
    reasons = ["audit", *["max_herding"] * 8, "fresh"]
    batch = Batch.of(batch_of(10).sample_ids, reason=reasons)
    gold = Batch.of(["g0", "g1", "g2"], reason="gold")
    mixed = add_quality_controls(batch, gold, QualityControlConfig(), np.random.default_rng(0))
    shown = shown_of(mixed, 0).set_index("reason")["why"]
    assert set(shown["max_herding"]) == {WHY["max_herding"]}
    assert (shown["audit"], shown["fresh"]) == ("drawn at random", WHY["fresh"])
    assert set(shown["gold"]) <= {WHY["max_herding"], WHY["fresh"]}


def test_every_strategy_and_every_other_reason_has_a_sentence_without_its_name():
    assert set(STRATEGIES) <= WHY.keys()
    assert not [name for name, sentence in WHY.items() if "_" in name and name in sentence]
    with pytest.raises(ValueError, match="'by_magic' has no sentence"):
        sentences(pd.Series(["margin", "by_magic"]))


def test_nothing_told_names_a_class():
    shown = shown_of(made(gold_share=0.2), 1)
    assert not shown["why"].str.contains("cat").any()


def test_a_review_says_so_and_keeps_its_place():
    batch = batch_of(5).with_columns(reason="review", blind=True)
    shown = shown_of(batch, 0)
    assert set(shown["stage"]) == {"review"}
    assert shown["confidence"].tolist() == batch.rows["confidence"].tolist()
    assert shown["why"][0].startswith("its label deserves a second look")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"gold_share": 1.1}, "gold_share is 1.1"), ({"blind_share": -1}, "choose from 0 to 1"),
     ({"overlap": 1}, "overlap is 1"), ({"overlap_share": 2}, "overlap_share is 2")],
)  # fmt: skip
def test_a_bad_share_is_refused_with_the_choices(wrong, words):
    with pytest.raises(ValueError, match=words):
        QualityControlConfig(**wrong)


def test_every_reason_that_annotators_may_see_has_a_sentence() -> None:
    """Gold is shown with the sentence of another image."""
    assert set(map(str, Reason)) - set(WHY) == {"gold"}
