from dataclasses import replace

import numpy as np
from scipy.stats import binom

from models.watching.accuracy_estimate import AccuracyEstimate, estimate_accuracy
from models.watching.outcome_signals import Judged, surprise
from models.watching.signals import WatchPolicy, Window
from models.watching.unseen_loss import Copies
from tests.models.watching.worlds import CLASSES, images

POLICY = WatchPolicy()
REFERENCE = images(600, 0)


def estimate(
    window: Window, judged: Judged | None = None, reference: Window = REFERENCE, seed: int = 0
) -> AccuracyEstimate:
    bare = replace(window, labels=None)
    rng = np.random.default_rng(seed)
    return estimate_accuracy(reference, bare, policy=POLICY, rng=rng, judged=judged)


def accuracy(window: Window) -> float:
    return float((window.outputs.argmax(axis=1) == window.labels).mean())


def harder(rows: int, seed: int) -> Window:
    """The images that the model is less sure about: as right as it says it is."""
    window = images(rows * 5 // 4, seed)
    return window.take(np.argsort(window.outputs.max(axis=1))[:rows])


def outcomes(window: Window, shift: int, *, recorded: bool = False) -> Judged:
    assert window.labels is not None
    truths = (window.labels + shift) % CLASSES
    embeddings = window.embeddings[:60] if recorded else None
    return Judged(window.outputs[:60], truths[:60], np.ones(60, bool), np.arange(60), embeddings)


def test_later_truth_lies_in_the_interval_of_clean_and_of_harder_images() -> None:
    for make in (images, harder):
        held = 0
        for seed in range(1, 31):
            window = make(200, seed)
            told = estimate(window, reference=images(400, 1000 + seed), seed=seed)
            assert told.low is not None
            assert told.high is not None
            held += told.low <= accuracy(window) <= told.high
            assert told.high - told.low < 0.3
        assert binom.cdf(held, 30, 0.95) > 0.01


def test_a_model_that_is_too_sure_is_corrected_by_the_reference() -> None:
    def sure(side: Window) -> Window:
        sharp = side.outputs**3
        return replace(side, outputs=sharp / sharp.sum(axis=1, keepdims=True))

    window = sure(images(500, 3))
    told = estimate(window, reference=sure(REFERENCE))
    assert window.outputs.max(axis=1).mean() - accuracy(window) > 0.08
    assert told.value is not None
    assert abs(told.value - accuracy(window)) < 0.06


def test_images_beyond_the_reference_have_no_estimate() -> None:
    told = estimate(images(300, 1, moved=4.0))
    assert (told.value, told.low, told.high) == (None, None, None)
    assert "never measured" in told.meaning
    assert told.far > 0.9
    some = estimate(images(300, 1, moved=6.0, part=0.25))
    assert some.value is None
    assert estimate(images(300, 1)).far < 0.05


def test_outcomes_that_contradict_silence_it_and_others_do_not() -> None:
    window = images(300, 2)
    assert "standard errors" in estimate(window, outcomes(window, 1)).meaning
    assert estimate(window, outcomes(window, 1)).value is None
    assert estimate(window, outcomes(window, 0)).value is not None
    assert estimate(window, outcomes(window, 0, recorded=True)).value is not None
    assert estimate(window, outcomes(window, 1, recorded=True)).value is None
    weak = replace(outcomes(window, 1), confirmed=np.zeros(60, bool))
    assert estimate(window, weak).value is not None


def test_ten_frames_of_a_scene_tell_less_than_ten_images() -> None:
    scenes = images(60, 4)
    frames = scenes.take(np.repeat(np.arange(60), 10))
    alone, repeated = estimate(images(600, 4)), estimate(frames)
    assert alone.high is not None
    assert alone.low is not None
    assert repeated.high is not None
    assert repeated.low is not None
    assert repeated.high - repeated.low > 2 * (alone.high - alone.low)
    assert (repeated.rows, repeated.groups) == (600, 60)


def test_what_is_missing_is_said() -> None:
    assert (
        "0 images of the reference have a label"
        in estimate(images(100, 1), reference=replace(REFERENCE, labels=None)).meaning
    )
    assert "1 different images in the window" in estimate(images(1, 1)).meaning
    wide = Window.of(np.full((60, 2), 0.5), np.zeros((60, 3)))
    assert "outputs have 2 columns" in estimate(wide).meaning
    always_right = replace(REFERENCE, labels=REFERENCE.outputs.argmax(axis=1))
    told = estimate(images(100, 1), reference=always_right)
    assert told.value is not None
    assert told.value > 0.9


def test_a_wide_embedding_is_projected() -> None:
    def wide(side: Window) -> Window:
        turn = np.random.default_rng(1).normal(size=(side.embeddings.shape[1], 300))
        return replace(side, embeddings=side.embeddings @ turn)

    told = estimate(wide(images(200, 1)), reference=wide(REFERENCE))
    assert told.value is not None


def test_surprise_is_a_standard_normal_while_the_probabilities_are_right() -> None:
    drawn = [surprise(outcomes(images(60, seed), 0)) for seed in range(200)]
    for numbers in np.array(drawn).T:
        assert abs(numbers.mean()) < 0.25
        assert 0.75 < numbers.std() < 1.25
    assert min(surprise(outcomes(images(60, 1), 1))) > 5


def test_copies_show_a_loss_that_confidence_does_not_see() -> None:
    """Of rows that have moved where the model looks, a third is wrong and none is in doubt."""
    reference = images(400, 11)
    assert reference.labels is not None
    rows, rng = np.arange(100), np.random.default_rng(0)

    def fooled(side: Window, share: float) -> Window:
        wrong = rng.random(len(side)) < share
        outputs = np.where(wrong[:, None], np.roll(side.outputs, 1, axis=1), side.outputs)
        return replace(side, outputs=outputs, embeddings=side.embeddings + 0.3)

    kinds = {str(n): fooled(reference.take(rows), 0.1 * n) for n in range(1, 5)}
    copies = Copies(
        rows,
        {kind: side.outputs for kind, side in kinds.items()},
        {kind: side.embeddings for kind, side in kinds.items()},
    )
    window = replace(fooled(images(400, 12), 0.3), labels=None)
    rng = np.random.default_rng(1)
    plain = estimate_accuracy(reference, window, policy=POLICY, rng=rng)
    taught = estimate_accuracy(reference, window, policy=POLICY, rng=rng, copies=copies)
    assert plain.low is not None and taught.low is not None
    truth = accuracy(fooled(images(400, 12), 0.3))
    assert taught.low < truth < plain.low
    broken = {kind: np.full_like(one, np.nan) for kind, one in copies.embeddings.items()}
    silent = replace(copies, embeddings=broken)
    without = estimate_accuracy(
        reference, window, policy=POLICY, rng=np.random.default_rng(1), copies=silent
    )
    assert without.low == plain.low
