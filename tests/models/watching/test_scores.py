"""Scores are fitted on the reference alone, and their cells count its rows by class."""

from dataclasses import replace

import numpy as np
import pytest

from core.image_statistics import STATISTICS
from models.watching.scores import CELLS, fit_scores
from tests.models.watching.lives import CLASSES, WIDTH, clean

REFERENCE = clean(300, np.random.default_rng(0))
SCORES = fit_scores(REFERENCE)


def test_every_score_has_a_name_and_counts_the_rows_it_was_not_fitted_on() -> None:
    assert SCORES.names[: len(STATISTICS)] == STATISTICS
    assert {"nearest image", "confidence", "probability of class 3"} <= set(SCORES.names)
    assert len(SCORES.names) == len(SCORES.cells.edges) == SCORES.strata["base"].counts.shape[1]
    rows = dict(zip(SCORES.names, SCORES.strata["base"].rows.sum(axis=0), strict=True))
    assert rows["brightness"] == rows["confidence"] == pytest.approx(300)
    assert rows["embedding axis 1"] == rows["nearest image"] == pytest.approx(200)


def test_clean_rows_fall_into_the_cells_as_the_reference_did() -> None:
    window = clean(3000, np.random.default_rng(1))
    counts, _ = SCORES.counted(window, np.ones(3000))
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(shares - SCORES.strata["base"].pooled).max() < 0.1
    assert (counts[:, [0, -1]] / 3000).max() < 0.05


def test_values_beyond_the_reference_have_cells_of_their_own_and_nan_has_none() -> None:
    window = clean(3, np.random.default_rng(2))
    window.statistics[:, 4] = [-1e3, 1e3, np.nan]
    counts, cells = SCORES.counted(window, np.ones(3))
    assert cells[:, 4].tolist() == [0, CELLS - 1, -1]
    assert counts[4].sum() == 2
    constant = replace(REFERENCE, statistics=np.ones_like(REFERENCE.statistics))
    window.statistics[:, 4] = [0, 1, 2]
    assert fit_scores(constant).counted(window, np.ones(3))[1][:, 4].tolist() == [0, 1, 2]


def test_groups_of_the_reference_count_once_and_known_rows_are_a_stratum() -> None:
    groups = np.repeat(np.arange(100), 3)
    known = np.arange(300) >= 240
    scores = fit_scores(replace(REFERENCE, groups=groups, known=known))
    assert scores.strata["base"].rows.sum(axis=0)[0] == pytest.approx(80)
    assert scores.strata["known"].rows.sum(axis=0)[0] == pytest.approx(20)
    assert set(fit_scores(replace(REFERENCE, known=np.ones(300, bool))).strata) == {"base"}


def test_the_digest_changes_with_the_reference_and_wide_embeddings_are_reduced() -> None:
    assert fit_scores(clean(300, np.random.default_rng(0))).digest == SCORES.digest
    assert fit_scores(REFERENCE.take(np.arange(299))).digest != SCORES.digest
    assert SCORES.axes.shape == (WIDTH, WIDTH)
    assert SCORES.base.shape == (CLASSES,)
    wide = np.random.default_rng(3).normal(size=(300, 500)).astype(np.float32)
    assert fit_scores(replace(REFERENCE, embeddings=wide)).axes.shape == (500, 24)
