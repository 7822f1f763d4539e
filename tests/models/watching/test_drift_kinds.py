from dataclasses import replace

import numpy as np
import pytest

from core.image_statistics import STATISTICS
from models.watching.drift_kinds import REMEDIES, DriftKind, KindOfDrift, kind_of_drift
from models.watching.outcome_signals import Judged
from models.watching.service_signals import service_signals
from models.watching.signals import WatchPolicy, Window
from tests.models.watching.worlds import CLASSES, images

POLICY = WatchPolicy()
REFERENCE = images(800, 0)
RARE = np.array([0.6, 0.25, 0.05, 0.05, 0.05])


def outcomes(window: Window, *, swap: bool = False, rows: int = 50) -> Judged:
    """The truths of the first rows; with `swap` the classes have changed their names."""
    assert window.labels is not None
    truths = (window.labels + swap) % CLASSES
    return Judged(
        window.outputs[:rows], truths[:rows], np.ones(rows, bool), np.arange(len(window))[:rows]
    )


def kind(window: Window, judged: Judged | None = None, seed: int = 0) -> KindOfDrift:
    bare = replace(window, labels=None)
    rng = np.random.default_rng(seed)
    return kind_of_drift(REFERENCE, bare, policy=POLICY, rng=rng, judged=judged)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_images_that_moved_are_a_covariate_shift_whatever_the_mix(seed: int) -> None:
    for mix in (None, RARE):
        told = kind(images(300, seed, moved=0.8, mix=mix))
        assert told.kind == DriftKind.COVARIATE
        assert "still differs from the reference" in told.evidence[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mix_that_explains_everything_is_a_prior_shift(seed: int) -> None:
    window = images(300, seed, mix=RARE)
    told = kind(window, outcomes(window))
    assert told.kind == DriftKind.PRIOR
    assert "class 0 makes up about 6" in told.evidence[0] or "class 0" in told.evidence[0]
    assert told.measures["covariate_distance"] < told.measures["unweighted_distance"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_truths_that_changed_for_the_same_images_are_a_concept_change(seed: int) -> None:
    window = images(300, seed)
    told = kind(window, outcomes(window, swap=True))
    assert told.kind == DriftKind.CONCEPT
    assert "standard errors less likely" in told.evidence[0]
    assert kind(window, outcomes(window)).kind == DriftKind.UNKNOWN
    assert kind(window).kind == DriftKind.UNKNOWN
    assert "fewer than 15 outcomes" in kind(window, outcomes(window, rows=14)).evidence[-1]


def test_broken_rows_and_strange_files_are_a_fault_of_the_instruments() -> None:
    broken = replace(images(300, 1, moved=0.8), broken=12)
    assert kind(broken).kind == DriftKind.INSTRUMENTATION
    assert kind(broken).evidence[0].startswith("broken: 12 of 312")
    strange = images(300, 1)
    strange.statistics[:20, STATISTICS.index("format")] = 3
    assert kind(strange).evidence[0].startswith("schema: 20 of 300")
    signals, _ = service_signals(
        REFERENCE, images(300, 1), {}, policy=POLICY, rng=np.random.default_rng(0)
    )
    given = kind_of_drift(
        REFERENCE, broken, policy=POLICY, rng=np.random.default_rng(0), service=signals
    )
    assert given.kind == DriftKind.COVARIATE  # the signals that were given are believed


def test_one_camera_that_differs_is_named() -> None:
    window = images(400, 1, moved=2.0, part=0.25)
    cameras = np.repeat(["roof", "hall", "gate", "yard"], 100)
    told = kind(replace(window, sources=cameras))
    assert told.kind == DriftKind.INSTRUMENTATION
    assert "only source 'roof' differs" in told.evidence[0]
    everywhere = replace(images(400, 1, moved=1.0), sources=cameras)
    assert kind(everywhere).kind == DriftKind.COVARIATE


def test_too_few_images_and_clean_ones_cannot_be_told() -> None:
    assert kind(images(49, 1, moved=3.0)).evidence[0].startswith("49 different images")
    wide = Window.of(np.full((60, 2), 0.5), np.zeros((60, 3)))
    assert "another model" in kind(wide).evidence[0]
    assert kind(images(300, 5)).kind == DriftKind.UNKNOWN


def test_every_kind_has_remedies_that_come_with_it() -> None:
    assert set(REMEDIES) == set(DriftKind)
    assert kind(images(300, 1, moved=0.8)).remedies == REMEDIES[DriftKind.COVARIATE]


def test_one_class_alone_and_a_reference_without_labels_are_told() -> None:
    single = images(300, 2, mix=np.array([0, 0, 1.0, 0, 0]))
    assert kind(single).kind == DriftKind.PRIOR
    bare = replace(REFERENCE, labels=None)
    told = kind_of_drift(
        bare, images(300, 1, moved=0.8), policy=POLICY, rng=np.random.default_rng(0)
    )
    assert told.kind == DriftKind.COVARIATE
