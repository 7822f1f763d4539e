import numpy as np
import pytest

from labeling.strategies.evidence import Evidence, weigh
from labeling.strategies.pool import Pool
from labeling.strategies.uncertainty import by_margin
from labeling.strategies.uncertainty_coverage import coverage

GROUPS, CLASSES = 24, 3


def in_groups(seed: int = 0, count: int = 600) -> tuple[Pool, np.ndarray]:
    """Tight groups of one class each; labels of six groups are known. And each row's group."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(GROUPS, 24))
    group = rng.integers(GROUPS, size=count)
    points = (centres[group] + 0.25 * rng.normal(size=(count, 24))).astype(np.float32)
    known = np.flatnonzero(group < 6)[:12]
    free = np.setdiff1d(np.arange(count), known)
    probs = np.full((len(free), CLASSES), 1 / CLASSES)
    return Pool(probs, points[free], None, points[known], group[known] % CLASSES), group[free]


def judged(pool: Pool, proposals: dict[str, np.ndarray], seed: int = 0) -> Evidence:
    return weigh(pool, proposals, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(3))
def test_one_of_each_group_without_a_label_teaches_more_than_more_of_a_known_group(
    seed: int,
) -> None:
    pool, group = in_groups(seed)
    spread = np.array([np.flatnonzero(group == number)[0] for number in range(6, GROUPS)])
    same = np.flatnonzero(group == 0)[: len(spread)]
    found = judged(pool, {"same": same, "spread": spread}, seed)
    assert found.gains["spread"] > found.gains["same"] + 5 * found.doubts["same"]
    assert found.doubts["spread"] == 0  # the best one's distance to itself


def test_near_what_is_undecided_more_is_learnt_than_where_all_is_known() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(900, 6)).astype(np.float32)
    classes = (points[:, 0] > 0).astype(int)
    probs = 1 / (1 + np.exp(-4 * points[300:, 0]))
    pool = Pool(np.stack([1 - probs, probs], 1), points[300:], None, points[:300], classes[:300])
    near = by_margin(pool, 40, rng).rows
    far = np.argsort(-np.abs(points[300:, 0]))[:40]
    found = judged(pool, {"near": near, "far": far})
    assert found.gains["near"] > found.gains["far"]


def test_processes_count_by_how_well_they_foretell_labels_that_were_left_out() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 12)).astype(np.float32)
    free = Pool(np.full((400, 2), 0.5), points[:400])
    straight = (points[400:].sum(axis=1) > 0).astype(int)
    rings = (np.linalg.norm(points[400:], axis=1) > 3.4).astype(int)
    batch = {"some": coverage(free, 10, rng).rows}
    by = {}
    for name, labels in (("straight", straight), ("rings", rings)):
        by[name] = judged(Pool(free.probs, free.embeddings, None, points[400:], labels), batch)
    linear = {name: one.processes.get("linear", 0.0) for name, one in by.items()}
    assert linear["straight"] > linear["rings"] == 0  # no direction tells inside from outside
    assert sum(by["rings"].processes.values()) == pytest.approx(1)


def test_the_same_question_has_the_same_answer_whatever_the_scale_and_place_of_embeddings() -> None:
    pool, group = in_groups()
    batch = {"one": np.flatnonzero(group == 8)[:5], "two": np.flatnonzero(group == 9)[:5]}
    assert pool.embeddings is not None and pool.labelled is not None
    moved = Pool(pool.probs, pool.embeddings * 8 + 16, None, pool.labelled * 8 + 16, pool.labels)
    first, again, third = judged(pool, batch), judged(pool, batch), judged(moved, batch)
    assert first == again
    assert third.gains == pytest.approx(first.gains, abs=0.01)


def test_a_rare_class_counts_like_a_common_one() -> None:
    rng = np.random.default_rng(1)
    rare = rng.random(1_000) < 0.04
    points = rng.normal(size=(1_000, 6)).astype(np.float32)
    points[rare, 0] += 4
    labelled = np.concatenate([np.flatnonzero(rare)[:2], np.flatnonzero(~rare)[:58]])
    free = np.setdiff1d(np.arange(1_000), labelled)
    probs = np.where(rare[free, None], [[0.4, 0.6]], [[0.99, 0.01]])
    pool = Pool(probs, points[free], None, points[labelled], rare[labelled].astype(int))
    rows = {"rare": np.flatnonzero(rare[free])[:10], "common": np.flatnonzero(~rare[free])[:10]}
    found = judged(pool, rows)
    assert found.gains["rare"] > found.gains["common"] + found.doubts["common"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="labels"):
        judged(Pool(np.full((4, 2), 0.5), np.eye(4, dtype=np.float32)), {"some": np.arange(2)})
