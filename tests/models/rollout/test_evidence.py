"""Evidence against a challenger: valid at all times, and one observation for each block."""

import json

import numpy as np
import pytest

from models.rollout.evidence import Evidence, block_means, block_of


def test_nothing_observed_is_no_evidence() -> None:
    assert Evidence().log_evidence == 0
    assert Evidence().mean is None
    assert Evidence().after([], tolerance=0.1) == Evidence()


def test_the_expected_capital_never_grows_while_the_claim_holds() -> None:
    """For each two-valued observation of the mean `tolerance`, exactly."""
    for tolerance in (0.0, 0.02, 0.3):
        for high in (0.4, 1.0):
            chance = (tolerance + 1) / (high + 1)  # of `high`, else -1
            expected = chance * np.exp(Evidence().after([high], tolerance=tolerance).log_evidence)
            expected += (1 - chance) * np.exp(
                Evidence().after([-1.0], tolerance=tolerance).log_evidence
            )
            assert expected == pytest.approx(1.0, abs=1e-6)


def test_evidence_in_parts_is_that_of_the_whole_and_survives_json() -> None:
    whole = Evidence().after([0.5, -0.2, 1.0], tolerance=0.05)
    part = Evidence().after([0.5], tolerance=0.05)
    part = Evidence.from_json(json.loads(json.dumps(part.as_json())))
    part = part.after([-0.2, 1.0], tolerance=0.05)
    assert part.log_evidence == pytest.approx(whole.log_evidence, abs=1e-6)
    assert part.mean == pytest.approx(1.3 / 3)


def test_what_is_no_difference_of_shares_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between -1 and 1.*1\.5"):
        Evidence().after([1.5], tolerance=0.1)


def test_a_burst_of_one_source_is_one_observation() -> None:
    times = np.array([100.0, 101.0, 109.9, 110.0, 101.0])
    sources = np.array(["a", "a", "a", "a", "b"], object)
    values = np.array([1.0, 1.0, -1.0, 1.0, 0.0])
    means = block_means(values, block_of(times), sources)
    assert sorted(means) == pytest.approx([0.0, 1 / 3, 1.0])
    assert block_means(np.empty(0), np.empty(0), np.empty(0, object)) == []
