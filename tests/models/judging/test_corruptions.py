"""Corruptions: the same for every model, each of its kind, and losses of a fragile model shown."""

import numpy as np
import pytest

from models.judging.corruptions import (
    CORRUPTIONS,
    MILD,
    POOLED,
    STRONG,
    corrupted,
    robustness,
)

SIDE = 24
IDS = [f"sample-{number}" for number in range(4)]


@pytest.fixture
def images() -> np.ndarray:
    """Smooth pictures: a bright bar on a dark ramp."""
    ramp = np.linspace(20, 120, SIDE)[None, :, None, None] + np.zeros((4, SIDE, SIDE, 3))
    ramp[:, 8:12] = 220
    return ramp.astype(np.uint8)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("strength", [MILD, STRONG, None])
def test_a_sample_is_corrupted_alike_in_every_order_and_left_as_it_was(
    images: np.ndarray, kind: str, strength: int | None
) -> None:
    before = images.copy()
    whole = corrupted(images, kind, IDS, strength=strength)
    reverse = corrupted(images[::-1], kind, IDS[::-1], strength=strength)
    alone = corrupted(images[2:3], kind, IDS[2:3], strength=strength)
    assert (images == before).all() and whole.dtype == np.uint8 and whole.shape == images.shape
    assert (whole == reverse[::-1]).all() and (whole[2] == alone[0]).all()
    assert (whole != images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("kind", ["noise", "brightness", "occlusion", "rotation", "colour"])
def test_what_is_drawn_depends_on_the_seed_and_the_sample(images: np.ndarray, kind: str) -> None:
    same = np.repeat(images[:1], 20, axis=0)
    names = [f"sample-{number}" for number in range(20)]
    drawn = corrupted(same, kind, names, strength=MILD)
    assert len({image.tobytes() for image in drawn}) > 1
    assert (drawn != corrupted(same, kind, names, strength=MILD, seed=1)).any()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_strong_one_changes_more(images: np.ndarray, kind: str) -> None:
    mild, strong = (
        np.abs(corrupted(images, kind, IDS, strength=strength).astype(float) - images).mean()
        for strength in (MILD, STRONG)
    )
    assert 0 < mild < strong


def test_each_kind_does_what_its_name_says(images: np.ndarray) -> None:
    made = {
        kind: corrupted(images, kind, IDS, strength=STRONG).astype(float) for kind in CORRUPTIONS
    }
    plain = images.astype(float)
    assert made["blur"].std() < plain.std() and made["contrast"].std() < 0.5 * plain.std()
    assert abs(made["contrast"].mean() - plain.mean()) < 1
    assert (np.abs(made["brightness"].mean(axis=(1, 2, 3)) - plain.mean(axis=(1, 2, 3))) > 40).all()
    assert ((made["occlusion"] == 128).all(axis=3).mean(axis=(1, 2)) > 0.1).all()
    spread = made["colour"].mean(axis=(1, 2)).max(axis=1) - made["colour"].mean(axis=(1, 2)).min(1)
    assert (spread > 60).all()


def test_what_are_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[n, height, width, 3\] is needed"):
        corrupted(np.zeros((2, 3, 8, 8), np.uint8), "noise", IDS[:2])


def test_without_a_strength_each_sample_has_one_of_the_two(images: np.ndarray) -> None:
    same, names = np.repeat(images[:1], 40, axis=0), [str(number) for number in range(40)]
    drawn, mild, strong = (
        corrupted(same, "blur", names, strength=strength) for strength in (None, MILD, STRONG)
    )
    is_mild, is_strong = ((drawn == one).all(axis=(1, 2, 3)) for one in (mild, strong))
    assert (is_mild != is_strong).all() and 10 < is_mild.sum() < 30


def credits(share: float, *, but: dict[str, float] | None = None, seed: int = 0):
    """Credits of 300 rows under every kind, right at this share or at that of a kind."""
    rng = np.random.default_rng(seed)
    return {
        kind: (rng.random(300) < (but or {}).get(kind, share)).astype(float) for kind in CORRUPTIONS
    }


def test_a_challenger_that_breaks_under_one_kind_loses_there_and_in_all() -> None:
    lost = robustness(credits(0.9, but={"blur": 0.3}), credits(0.9, seed=1))
    assert set(lost) == {POOLED, *CORRUPTIONS}
    assert lost["blur"].high < -0.4 and lost["blur"].rows == 300
    assert -0.12 < lost[POOLED].value < -0.04 and lost[POOLED].high < 0
    assert all(lost[kind].low < 0 < lost[kind].high for kind in set(CORRUPTIONS) - {"blur"})


def test_a_model_loses_nothing_against_itself_and_the_interval_says_how_sure_that_is() -> None:
    mine = credits(0.9)
    few = robustness({one: rows[:20] for one, rows in mine.items()},
                     {one: rows[:20] for one, rows in mine.items()})[POOLED]  # fmt: skip
    many = robustness(mine, mine)[POOLED]
    assert few.value == many.value == 0 and few.low < many.low < 0 < many.high < few.high


def test_a_loss_is_covered_by_its_interval_as_often_as_it_promises() -> None:
    """Rows differ in how hard they are: eight credits of one row are not eight rows."""
    rng, covered = np.random.default_rng(0), 0
    hardness = rng.beta(2, 0.6, 200_000)
    truth = float((np.clip(hardness - 0.05, 0, 1) - hardness).mean())
    for _ in range(300):
        hard = rng.beta(2, 0.6, 80)
        one, other = (
            {kind: (rng.random(80) < np.clip(hard - loss, 0, 1)).astype(float)
             for kind in CORRUPTIONS}
            for loss in (0.05, 0.0)
        )  # fmt: skip
        interval = robustness(one, other, alpha=9 * 0.05)[POOLED]  # each of nine at 0.05
        covered += interval.low <= truth <= interval.high
    assert covered / 300 >= 0.92
