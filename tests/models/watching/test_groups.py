"""Near-duplicates are one group, strangers are not, and sessions may be joined."""

import numpy as np
import pytest

from models.watching import groups
from models.watching.groups import group_weights, groups_of, nearest_strangers

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(300, 100)).astype(np.float32)


def test_frames_of_a_scene_are_one_group_and_strangers_are_not() -> None:
    scenes = RNG.normal(size=(20, 100)).repeat(5, axis=0)
    frames = (scenes + RNG.normal(0, 0.05, scenes.shape)).astype(np.float32)
    groups = groups_of(REFERENCE, frames)
    assert (groups.reshape(20, 5) == groups[::5, None]).all()
    assert len(np.unique(groups)) == 20
    assert group_weights(groups).tolist() == [0.2] * 100
    strangers = RNG.normal(size=(200, 100)).astype(np.float32)
    assert len(np.unique(groups_of(REFERENCE, strangers))) >= 170


def test_sessions_join_rows_that_are_not_alike() -> None:
    strangers = RNG.normal(size=(6, 100)).astype(np.float32)
    groups = groups_of(REFERENCE, strangers, np.array([3, -1, 3, 3, -1, 5]))
    assert groups[0] == groups[2] == groups[3]
    assert len(np.unique(groups)) == 4


def test_a_nearness_that_is_given_is_the_one_of_the_reference() -> None:
    rows = RNG.normal(size=(50, 100)).astype(np.float32)
    given = nearest_strangers(REFERENCE, 50)
    assert (groups_of(REFERENCE, rows) == groups_of(REFERENCE, rows, nearness=given)).all()
    stricter = nearest_strangers(REFERENCE, 1000)
    assert stricter.cosine > given.cosine
    assert stricter.distance < given.distance


def test_a_long_reference_is_thinned_before_all_its_pairs_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "COMPARED", 100)
    thinned = nearest_strangers(REFERENCE, 50)
    assert thinned == nearest_strangers(REFERENCE[::3], 50)


def test_images_that_all_drifted_the_same_way_stay_apart() -> None:
    drifted = (RNG.normal(size=(100, 100)) + 5).astype(np.float32)
    assert len(np.unique(groups_of(REFERENCE, drifted))) >= 80


def test_few_rows_and_small_references_have_groups_too() -> None:
    assert groups_of(REFERENCE, REFERENCE[:0]).tolist() == []
    assert groups_of(REFERENCE, REFERENCE[:1]).tolist() == [0]
    assert len(np.unique(groups_of(REFERENCE[:1], REFERENCE[1:4]))) == 3
    same = np.ones((4, 100), np.float32)
    assert len(np.unique(groups_of(REFERENCE[:0], same))) == 1
