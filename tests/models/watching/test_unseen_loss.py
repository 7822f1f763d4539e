"""What confidence does not see of a loss is learned from kinds of corruption."""

import numpy as np
import pytest

from models.watching.unseen_loss import EXTRA, EXTRA_ERROR, Unseen

SEEN = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.05])
NOISE = np.full(8, 1e-5)
MOVED = np.linspace(0.1, 1.0, 8)


@pytest.mark.parametrize("extra", [-0.4, 0.0, 1.0])
def test_a_share_that_kinds_agree_on_is_learned(extra: float) -> None:
    learned = Unseen.learned(SEEN, (1 + extra) * SEEN, NOISE, MOVED)
    assert learned.extra == pytest.approx(extra, abs=0.01)
    assert learned.error < 0.05
    assert learned.rest == 0


def test_kinds_that_differ_leave_a_rest_that_grows_with_the_movement() -> None:
    signs = np.resize([1.0, -1.0], 8)
    learned = Unseen.learned(SEEN, SEEN + 0.05 * signs * np.sqrt(MOVED), NOISE, MOVED)
    assert learned.rest == pytest.approx(0.05**2, rel=0.3)
    past, new = np.full(1000, 0.8), np.full(1000, 0.7)
    near, far = (learned.loss(past, new, moved)[1] for moved in (0.1, 1.0))
    assert far > near > 0


def test_noisy_copies_and_none_leave_what_was_thought_before() -> None:
    learned = Unseen.learned(SEEN, 3 * SEEN, np.full(8, 100.0), MOVED)
    assert learned.extra == pytest.approx(EXTRA, abs=0.01)
    assert learned.error == pytest.approx(EXTRA_ERROR, abs=0.01)
    past, new = np.full(1000, 0.8), np.full(1000, 0.7)
    loss, variance = Unseen().loss(past, new, 1.0)
    assert loss == pytest.approx(0.1 * EXTRA)
    assert variance == pytest.approx((0.1 * EXTRA_ERROR) ** 2)


def test_a_gain_of_confidence_is_no_loss_but_is_as_uncertain() -> None:
    past, new = np.full(1000, 0.7), np.full(1000, 0.8)
    loss, variance = Unseen(extra=0.5).loss(past, new, 0.0)
    assert loss == 0
    assert variance > 0
