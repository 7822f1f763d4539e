import numpy as np
import pandas as pd

from labeling.batches.disagreements import (
    POOL,
    TRAFFIC,
    find_disagreements,
    in_random_order,
    split_populations,
)

KEY = b"a key of the workspace"
SAMPLES = pd.DataFrame(
    {
        "sample_id": [f"s{n:03d}" for n in range(60)],
        "group_id": [f"g{n // 2:02d}" for n in range(60)],
    }
)


def test_a_group_counts_once_and_the_order_depends_on_key_and_duel_alone() -> None:
    drawn = in_random_order(SAMPLES, KEY, duel="duel-0001")
    assert len(drawn) == drawn["group_id"].nunique() == 30
    shuffled = SAMPLES.sample(frac=1, random_state=1)
    again = in_random_order(shuffled, KEY, duel="duel-0001")
    assert again["sample_id"].tolist() == drawn["sample_id"].tolist()
    for other in (
        in_random_order(SAMPLES, b"another", duel="duel-0001"),
        in_random_order(SAMPLES, KEY, duel="duel-0002"),
    ):
        assert other["group_id"].tolist() != drawn["group_id"].tolist()


def test_the_order_of_a_group_does_not_depend_on_what_else_is_there() -> None:
    every = in_random_order(SAMPLES, KEY, duel="duel-0001")["group_id"].tolist()
    part = SAMPLES[SAMPLES["group_id"].isin(every[5:20])]
    assert in_random_order(part, KEY, duel="duel-0001")["group_id"].tolist() == every[5:20]


def test_each_place_is_as_likely_for_each_group() -> None:
    firsts = pd.Series(
        [in_random_order(SAMPLES, KEY, duel=f"duel-{n}")["group_id"][0] for n in range(600)]
    ).value_counts()
    assert len(firsts) == 30
    assert ((firsts - 20) ** 2 / 20).sum() < 58  # chi-square with 29 degrees: 1 in 1,000


def test_populations_have_no_group_in_common_and_none_that_was_trained_on() -> None:
    parts = split_populations(SAMPLES, {"s000", "s010", "s059"}, excluded={"g05", "g07"})
    assert parts[TRAFFIC]["sample_id"].tolist() == ["s000", "s059"]  # g05 was trained on
    groups = [set(part["group_id"]) for part in parts.values()]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & {"g05", "g07"}
    assert "s001" not in set(parts[POOL]["sample_id"])  # a near-duplicate of what was served


def test_disagreements_are_drawn_in_order_and_counted_where_none_is_asked() -> None:
    rows = {POOL: SAMPLES[:6], TRAFFIC: SAMPLES[6:8]}
    outputs = {
        name: np.arange(2 * len(part), dtype=np.float32).reshape(-1, 2) / 7
        for name, part in rows.items()
    }
    champion = {POOL: (outputs[POOL], list("aabbab")), TRAFFIC: (outputs[TRAFFIC], list("ab"))}
    challenger = {POOL: (outputs[POOL], list("babaaa")), TRAFFIC: (outputs[TRAFFIC], list("ab"))}
    result = find_disagreements(rows, champion, challenger, most=2)
    assert result.scored == {POOL: 6, TRAFFIC: 2}
    assert result.disagreements == {POOL: 3, TRAFFIC: 0}
    drawn = result.drawn
    assert drawn[["sample_id", "population", "position"]].values.tolist() == [
        ["s000", POOL, 0], ["s003", POOL, 1],
    ]  # fmt: skip
    assert np.float32(drawn["champion_output"][1]).tolist() == outputs[POOL][3].tolist()
    assert find_disagreements(rows, champion, champion, most=2).drawn.empty
