import numpy as np
import pytest
import torch

from models.watching import alibi
from models.watching.mmd import BLOCK, mmd_test


def samples(rows: int, others: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.normal(size=(rows, 6)), rng.normal(size=(others, 6)) + shift


class Permutations:
    """Torch's permutations, of which Alibi Detect takes one a permutation of the rows."""

    def permutation(self, columns: np.ndarray) -> np.ndarray:
        order = torch.randperm(len(columns)).numpy()
        places = np.zeros(len(columns), np.float32)
        places[order[int((columns == 0).sum()) :]] = 1
        return places


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_it_is_alibi_detects_statistic_and_p_value_on_the_same_permutations(shift: float) -> None:
    reference, window = samples(120, 60, shift)
    expected_p, expected = alibi.mmd_test(reference, window, permutations=99, seed=7)
    torch.manual_seed(7)
    measured = mmd_test(reference, window, permutations=99, rng=Permutations())  # type: ignore[arg-type]
    assert measured.squared == pytest.approx(expected, abs=1e-6)
    assert measured.p_value == pytest.approx(expected_p)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, window = samples(300, 280, 0.2)
    assert len(reference) + len(window) > BLOCK
    whole = mmd_test(reference, window, permutations=50, rng=np.random.default_rng(1))
    monkeypatch.setitem(mmd_test.__globals__, "BLOCK", 37)
    parts = mmd_test(reference, window, permutations=50, rng=np.random.default_rng(1))
    assert parts.squared == pytest.approx(whole.squared, abs=1e-6)
    assert parts.p_value == whole.p_value
    assert np.allclose(parts.witness, whole.witness, atol=1e-6)


def test_the_rows_that_moved_stand_out() -> None:
    reference, window = samples(200, 100, 0.0)
    window[:10] += 3
    measured = mmd_test(reference, window, permutations=50, rng=np.random.default_rng(1))
    assert set(np.argsort(-measured.witness)[:5]) <= set(range(10))


def test_equal_rows_have_no_bandwidth_and_no_drift() -> None:
    same = np.ones((50, 3))
    assert mmd_test(same, same, permutations=20, rng=np.random.default_rng(1)).p_value == 1.0
