import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.batches.batch import BATCH, Batch
from labeling.batches.candidates import candidates_of
from labeling.batches.select import SelectionConfig, select_batch, share_of
from labeling.strategies import STRATEGIES, Choice, Pool, Strategy
from labeling.strategies.uncertainty import margin

SURE, TORN, EVEN = [0.98, 0.01, 0.01], [0.5, 0.48, 0.02], [1 / 3, 1 / 3, 1 / 3]


def make_pool(
    size: int, *, groups: int | None = None, served: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return candidates(
        [f"sample-{i:04}" for i in range(size)],
        group_id=[f"group-{i % (groups or size or 1)}" for i in range(size)],
        origin=np.where(rng.random(size) < served, "served", "ingest"),
    )


def candidates(sample_ids: list[str], **columns: Any) -> pd.DataFrame:
    usual: dict[str, Any] = {
        "origin": "ingest",
        "source": "here",
        "added_at": "2026-01-01T00:00:00+00:00",
    }
    pool = pd.DataFrame({"sample_id": pd.Series(sample_ids, dtype=object)})
    return candidates_of(pool.assign(**({"group_id": sample_ids} | usual | columns)))


def make_probs(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0], size).astype(np.float32)


def pick(
    pool: pd.DataFrame,
    probs: np.ndarray | None,
    config: SelectionConfig,
    seed: int = 0,
    audit: int = 0,
) -> pd.DataFrame:
    rng, first = np.random.default_rng(seed), audit_of(audit)
    return select_batch(pool, Pool(probs=probs), config, rng, audit=first)[0].rows


def audit_of(size: int) -> Batch:
    """Samples of the standing audit, which are not in the pool."""
    names = [f"audit-{number:04}" for number in range(size)]
    return Batch.of(names, reason="audit", inclusion_probability=0.2)


@st.composite
def situations(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray | None, SelectionConfig]:
    size = draw(st.integers(0, 40))
    pool = make_pool(
        size,
        groups=draw(st.integers(1, 40)),
        served=draw(st.floats(0, 1)),
        seed=draw(st.integers(0, 9)),
    )
    # Few different rows of probabilities, so that ties are common.
    rows = draw(st.lists(st.sampled_from([SURE, TORN, EVEN]), min_size=size, max_size=size))
    probs = np.array(rows).reshape(size, 3) if draw(st.booleans()) else None
    config = SelectionConfig(
        strategy=draw(st.sampled_from([*STRATEGIES, "random"])),
        size=draw(st.integers(1, 30)),
        audit_share=draw(st.floats(0, 0.5)),
        random_share=draw(st.floats(0, 0.5)),
        served_share=draw(st.floats(0, 1)),
    )
    return pool, probs, config


def test_the_strategy_asks_about_the_highest_scores_first() -> None:
    probs = make_probs(100)
    config = SelectionConfig("margin", size=10, audit_share=0, random_share=0)
    batch = pick(make_pool(100), probs, config)
    assert set(batch["reason"]) == {"margin"}
    assert np.allclose(batch["score"], np.sort(margin(probs))[::-1][:10])


@given(situations())
def test_a_batch_has_its_size_no_sample_twice_and_positions_in_order(situation: tuple) -> None:
    pool, probs, config = situation
    batch = pick(pool, probs, config)
    assert list(batch.columns) == list(BATCH.columns)
    assert batch["sample_id"].is_unique
    assert set(batch["sample_id"]) <= set(pool["sample_id"])
    assert batch["position"].tolist() == list(range(len(batch)))
    assert len(batch) == min(config.size, len(pool))


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(situation: tuple, shuffler: object) -> None:
    pool, probs, config = situation
    order = list(range(len(pool)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    shuffled = pick(pool.iloc[order], None if probs is None else probs[order], config)
    pd.testing.assert_frame_equal(shuffled, pick(pool, probs, config))


@given(situations())
def test_a_group_is_asked_about_twice_only_when_all_groups_are_in(situation: tuple) -> None:
    pool, probs, config = situation
    batch = pick(pool, probs, config).merge(pool, on="sample_id")
    if batch["group_id"].duplicated().any():
        assert set(batch["group_id"]) == set(pool["group_id"])


@given(situations())
def test_the_parts_of_a_batch_have_their_shares_while_the_pool_lasts(situation: tuple) -> None:
    _, _, config = situation
    pool = make_pool(300)
    pool["origin"] = np.where(np.arange(300) % 2, "served", "ingest")
    audit = math.ceil(round(config.size * config.audit_share, 9))
    counts = pick(pool, make_probs(300), config, audit=audit)["reason"].value_counts()
    rest = config.size - audit
    served = math.ceil(round(rest * config.served_share, 9))
    assert counts.get("audit", 0) == audit
    assert counts.get("served", 0) == served
    if config.random_share == 0 and config.strategy != "random":
        assert counts.sum() - audit - served == rest - served


def test_the_same_seed_gives_the_same_batch_and_another_seed_another() -> None:
    pool = make_pool(200)
    config = SelectionConfig("random", size=20)
    pd.testing.assert_frame_equal(pick(pool, None, config), pick(pool, None, config))
    assert set(pick(pool, None, config)["sample_id"]) != set(
        pick(pool, None, config, 1)["sample_id"]
    )


def test_equal_scores_are_chosen_by_chance_and_not_by_name() -> None:
    pool, probs = make_pool(100), np.tile(EVEN, (100, 1))
    batch = pick(pool, probs, SelectionConfig("margin", size=50, audit_share=0))
    names = sorted(batch["sample_id"])
    assert names != pool["sample_id"].tolist()[:50]
    assert 15 < sum(name < "sample-0050" for name in names) < 35


def test_without_predictions_all_is_random_and_nothing_is_scored() -> None:
    batch = pick(make_pool(50), None, SelectionConfig(size=10), audit=2)
    assert batch["reason"].tolist() == ["audit"] * 2 + ["random"] * 8
    assert batch["score"].isna().all()


def test_served_images_come_in_by_their_score_and_others_fill_what_is_missing() -> None:
    pool, probs = make_pool(60), make_probs(60)
    pool["origin"] = ["served"] * 3 + ["ingest"] * 57
    config = SelectionConfig("margin", size=20, audit_share=0, random_share=0, served_share=0.5)
    batch = pick(pool, probs, config)
    served = batch[batch["reason"] == "served"]
    assert set(served["sample_id"]) == set(pool["sample_id"][:3])
    assert served["score"].is_monotonic_decreasing
    assert (batch["reason"] == "margin").sum() == 17


def test_an_empty_pool_gives_an_empty_batch() -> None:
    for probs in (None, make_probs(0), np.empty(0)):
        batch = pick(make_pool(0), probs, SelectionConfig())
        assert list(batch.columns) == list(BATCH.columns)
        assert batch.empty


def test_a_pool_smaller_than_the_batch_is_asked_about_whole() -> None:
    pool = make_pool(7)
    assert set(pick(pool, make_probs(7), SelectionConfig())["sample_id"]) == set(pool["sample_id"])


def test_probabilities_that_are_none_are_refused_by_the_first_sample() -> None:
    pool, good = make_pool(4), make_probs(4)
    for row, value, words in (
        (2, math.nan, "1 of 4 samples have a probability that is not finite"),
        (1, math.inf, "not finite"),
        (3, 0.9, "do not sum to one"),
        (2, -0.5, "do not sum to one"),
    ):
        probs = good.copy()
        probs[row, 0] = value
        with pytest.raises(ValueError, match=words) as error:
            pick(pool, probs, SelectionConfig())
        assert f"sample-{row:04}" in str(error.value)


@pytest.mark.parametrize("shape", [(3, 3), (4, 1), (4,)])
def test_probabilities_of_the_wrong_shape_are_refused_with_the_counts(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match=r"have shape .* for 4 samples"):
        pick(make_pool(4), np.ones(shape), SelectionConfig())


def test_a_sample_that_is_in_the_pool_twice_is_refused() -> None:
    pool = pd.concat([make_pool(3), make_pool(1)])
    with pytest.raises(ValueError, match=r"1 of 4 samples are in the pool twice, .* sample-0000"):
        pick(pool, None, SelectionConfig())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"strategy": "best"}, "'best'; choose one of auto, random, .*margin"),
        ({"size": 0}, "size is 0"),
        ({"audit_share": 1.5}, "audit_share is 1.5"),
        ({"random_share": -0.1}, "random_share is -0.1"),
        ({"served_share": math.nan}, "served_share is nan"),
        ({"source_share": 0.0}, "source_share is 0.0; choose above 0 to 1"),
        ({"quotas": {"cat": -1}}, "quotas.cat is -1; choose 0 or more"),
        ({"size": 4, "quotas": {"cat": 4}}, "are 5, more than the batch of 4"),
        ({"fresh_days": 0}, "fresh_days is 0; choose 1 or more"),
    ],
)
def test_a_bad_setting_is_named_with_its_choices(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SelectionConfig(**wrong)


def test_every_draw_is_kept_with_its_probability_and_how_many_were_left() -> None:
    pool, probs = make_pool(100), make_probs(100)
    config = SelectionConfig("margin", size=50, random_share=0.3)
    batch = pick(pool, probs, config, audit=10)
    is_audit, is_random = batch["reason"] == "audit", batch["reason"] == "random"
    assert is_audit.tolist() == [True] * 10 + [False] * 40
    assert set(batch.loc[is_audit, "inclusion_probability"]) == {0.2}
    assert batch.loc[is_audit, ["draw_probability", "draws_from"]].isna().all(axis=None)
    assert batch.loc[~is_audit, "draws_from"].tolist() == list(range(100, 60, -1))
    assert batch.loc[~is_audit, "inclusion_probability"].isna().all()
    left = batch["draws_from"]
    assert is_random.any()
    assert np.allclose(batch.loc[is_random, "draw_probability"], 0.3 / left[is_random])
    own = batch["reason"] == "margin"
    assert np.allclose(batch.loc[own, "draw_probability"], 0.7 + 0.3 / left[own])


def test_the_random_arm_draws_as_often_as_it_says_from_all_that_is_left() -> None:
    pool, probs = make_pool(30), make_probs(30)
    config = SelectionConfig("margin", size=10, audit_share=0, random_share=0.4)
    batches = pd.concat([pick(pool, probs, config, seed) for seed in range(400)])
    drawn = batches[batches["reason"] == "random"]
    # 4,000 places at 0.4: five standard deviations are 155.
    assert abs(len(drawn) - 1600) < 155
    surest = pool["sample_id"].to_numpy()[np.argsort(margin(probs))[:10]]
    assert drawn["sample_id"].isin(surest).sum() > 400  # whom the strategy would never ask


def test_a_batch_with_promised_places_keeps_no_draw() -> None:
    pool, probs = make_pool(100), make_probs(100)
    config = SelectionConfig("margin", size=20, named=["sample-0007"])
    assert pick(pool, probs, config)["draw_probability"].isna().all()


def test_who_is_named_comes_first_and_a_name_that_is_not_in_the_pool_is_left_out() -> None:
    config = SelectionConfig("margin", size=5, audit_share=0, named=["sample-0009", "gone"])
    batch = pick(make_pool(20), make_probs(20), config)
    assert batch["sample_id"][0] == "sample-0009"
    assert batch["reason"].tolist()[0] == "named"
    assert len(batch) == 5


def test_a_quota_is_met_from_those_predicted_so() -> None:
    pool, probs = make_pool(200), make_probs(200)
    config = SelectionConfig("margin", size=20, audit_share=0, quotas={"b": 8})
    batch, _ = select_batch(
        pool, Pool(probs=probs), config, np.random.default_rng(0), classes=["a", "b", "c"]
    )
    rows = batch.rows
    quota = rows[rows["reason"] == "quota"].merge(pool.reset_index(), on="sample_id")
    assert len(quota) == 8
    assert (probs[quota["index"]].argmax(axis=1) == 1).all()
    with pytest.raises(ValueError, match="quotas names b; the classes are x, y, z"):
        select_batch(
            pool, Pool(probs=probs), config, np.random.default_rng(0), classes=["x", "y", "z"]
        )


@given(st.integers(1, 60), st.integers(0, 5))
def test_balance_gives_no_class_more_than_its_part_while_others_are_left(
    size: int, seed: int
) -> None:
    pool, probs = make_pool(120), make_probs(120, seed)
    config = SelectionConfig("margin", size=size, audit_share=0, balance=True, random_share=0.2)
    batch = pick(pool, probs, config, seed).merge(pool.reset_index(), on="sample_id")
    counts = np.bincount(probs[batch["index"]].argmax(axis=1), minlength=3)
    there = np.bincount(probs.argmax(axis=1), minlength=3)
    most = math.ceil(size / 3)
    assert len(batch) == size
    assert (counts <= most).all() or (counts[there < most] == there[there < most]).all()


@given(situations(), st.floats(0.1, 0.9))
def test_no_source_gives_more_than_its_cap(situation: tuple, share: float) -> None:
    pool, probs, config = situation
    pool = pool.assign(source=[f"folder-{row % 3}" for row in range(len(pool))])
    config = replace(config, source_share=share, audit_share=0, served_share=0)
    batch = pick(pool, probs, config).merge(pool, on="sample_id")
    most = math.ceil(round(min(config.size, len(pool)) * share, 9))
    assert (batch["source"].value_counts() <= most).all()


def test_fresh_places_are_for_what_came_in_lately() -> None:
    now = pd.Timestamp.now(tz="UTC")
    pool = make_pool(100).assign(added_at=(now - pd.Timedelta(days=30)).isoformat())
    pool.loc[90:, "added_at"] = (now - pd.Timedelta(days=1)).isoformat()
    config = SelectionConfig("margin", size=20, audit_share=0, random_share=0, fresh_share=0.25)
    batch = pick(pool, make_probs(100), config)
    fresh = batch.loc[batch["reason"] == "fresh", "sample_id"]
    assert len(fresh) == 5
    assert fresh.isin(pool["sample_id"][90:]).all()


def test_a_strategy_without_what_it_needs_gives_way_and_the_rule_says_so() -> None:
    pool = make_pool(30)
    _, rule = select_batch(pool, Pool(), SelectionConfig("bald"), np.random.default_rng(0))
    assert rule == "random, because bald needs ensemble and the pool has none"
    seen = Pool(probs=make_probs(30))
    batch, rule = select_batch(
        pool, seen, SelectionConfig("bald", random_share=0), np.random.default_rng(0)
    )
    assert rule == "margin, because bald needs ensemble and the pool has none"
    assert set(batch.rows["reason"]) == {"margin"}


@given(situations(), st.floats(0, 1))
def test_places_that_are_taken_already_change_nobody_in_the_audit(
    situation: tuple, share: float
) -> None:
    pool, probs, config = situation
    seen, taken = Pool(probs=probs), int(share * (config.size - config.promised))
    first = audit_of(share_of(config.size, config.audit_share))
    alone, beside = (
        select_batch(pool, seen, config, np.random.default_rng(0), audit=first, taken=count)[0].rows
        for count in (0, taken)
    )
    assert len(beside) <= config.size - taken
    assert len(beside) == len(alone) or len(alone) > config.size - taken
    audit, same = (batch[batch["reason"] == "audit"] for batch in (alone, beside))
    pd.testing.assert_frame_equal(audit, same)


def test_places_that_are_taken_already_are_none_of_a_quota_or_of_who_is_named() -> None:
    pool, probs = make_pool(200), make_probs(200)
    config = SelectionConfig("margin", size=50, quotas={"b": 40}, named=["sample-0009"])
    assert config.promised == 46
    seen, rng = Pool(probs=probs), np.random.default_rng(0)
    names = ["a", "b", "c"]
    batch, _ = select_batch(pool, seen, config, rng, classes=names, audit=audit_of(5), taken=4)
    assert batch.rows["reason"].value_counts().to_dict() == {"quota": 40, "audit": 5, "named": 1}


def test_where_chance_decides_nothing_that_is_seen_can_be_in_the_way() -> None:
    pool, broken = make_pool(30), np.full((30, 3), math.nan)
    config = SelectionConfig("random", size=10)
    seen = Pool(probs=broken, embeddings=broken[:7])
    batch, rule = select_batch(pool, seen, config, np.random.default_rng(0))
    pd.testing.assert_frame_equal(batch.rows, pick(pool, None, config))
    assert rule == "random"
    for needs in ({"balance": True}, {"quotas": {"a": 1}}, {"relabel_share": 0.1}):
        words = "or choose at random .strategy random, without balance, quotas and relabel_share"
        with pytest.raises(ValueError, match=words):
            pick(pool, broken, replace(config, **needs))


def test_of_near_duplicates_the_one_in_most_doubt_is_asked_about() -> None:
    pool, probs = make_pool(6, groups=3), np.array([SURE, TORN, SURE, TORN, SURE, TORN])
    config = SelectionConfig("margin", size=3, audit_share=0, random_share=0)
    doubted = {"sample-0001", "sample-0003", "sample-0005"}
    assert set(pick(pool, probs, config)["sample_id"]) == doubted


@pytest.mark.parametrize(
    "promise",
    [{"balance": True}, {"quotas": {"a": 2}}, {"served_share": 0.1}, {"source_share": 0.9}],
)
def test_beside_any_promise_no_draw_of_a_strategy_is_recorded(promise: dict[str, Any]) -> None:
    pool = make_pool(100, served=0.2).assign(source="folder")
    config = SelectionConfig("margin", size=20, audit_share=0, random_share=0.3, **promise)
    batch, _ = select_batch(
        pool, Pool(make_probs(100)), config, np.random.default_rng(0), classes=["a", "b", "c"]
    )
    assert {"margin", "random"} <= set(batch.rows["reason"])
    assert batch.rows["draw_probability"].isna().all()


def test_shares_that_add_up_to_more_than_the_batch_do_not_enlarge_it() -> None:
    pool = make_pool(100, served=0.5).assign(added_at=pd.Timestamp.now(tz="UTC").isoformat())
    config = SelectionConfig("margin", size=20, audit_share=0, fresh_share=0.8, served_share=0.8)
    batch = pick(pool, make_probs(100), config)
    assert batch["reason"].value_counts().to_dict() == {"fresh": 16, "served": 4}


@pytest.mark.parametrize(("days", "fresh"), [(1, 0), (3, 5)])
def test_a_sample_is_fresh_for_as_many_days_as_the_policy_says(days: int, fresh: int) -> None:
    two_days_ago = pd.Timestamp.now(tz="UTC") - pd.Timedelta(days=2)
    pool = make_pool(50).assign(added_at=two_days_ago.isoformat())
    config = SelectionConfig("margin", 20, audit_share=0, fresh_share=0.25, fresh_days=days)
    reasons = pick(pool, make_probs(50), config)["reason"]
    assert (reasons == "fresh").sum() == fresh


def test_a_strategy_takes_what_is_chosen_for_training_for_labelled_but_no_audit_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools: list[Pool] = []

    def first_rows(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
        pools.append(pool)
        return Choice(pool.free[:size], np.zeros(len(pool.free[:size])))

    monkeypatch.setitem(STRATEGIES, "first", Strategy(first_rows, needs=()))
    embeddings = np.arange(40, dtype=np.float32)[:, None]
    seen = Pool(embeddings=embeddings, labelled=np.full((1, 1), -1.0), labels=np.array([2]))
    pool = make_pool(40).assign(origin=["served"] * 20 + ["ingest"] * 20)
    config = SelectionConfig("first", size=10, random_share=0, served_share=0.25)
    rng = np.random.default_rng(0)
    batch = select_batch(pool, seen, config, rng, audit=audit_of(2))[0].rows
    served = batch.loc[batch["reason"] == "served", "sample_id"].str[-4:].astype(float).tolist()
    assert len(served) == 2 and len(pools) == 2
    before, after = (given.labelled for given in pools)
    assert before is not None and before.ravel().tolist() == [-1]
    assert after is not None and after.ravel().tolist() == [-1, *served]
    assert pools[1].labels is not None and pools[1].labels.tolist() == [2, -1, -1]


@pytest.mark.parametrize("strategy", ["random", "margin"])
@pytest.mark.parametrize("size", [5, 8])
def test_copies_of_what_has_a_label_come_after_all_others(strategy: str, size: int) -> None:
    pool, probs = make_pool(40, groups=20), make_probs(40)
    covered = {f"group-{number}" for number in range(15)}
    config = SelectionConfig(strategy=strategy, size=size, random_share=0.3)
    rng = np.random.default_rng(0)
    batch, _ = select_batch(pool, Pool(probs=probs), config, rng, covered=covered)
    groups = pool.set_index("sample_id").loc[batch.sample_ids, "group_id"]
    assert len(groups) == size and len(set(groups[:5])) == 5
    assert not groups[:5].isin(covered).any()
