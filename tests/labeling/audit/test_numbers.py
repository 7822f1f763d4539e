import inspect

import numpy as np
import pytest

from core.errors import HoneError
from labeling.audit.numbers import AuditPolicy, Part, audit_number, part_of
from labeling.strategies import STRATEGIES
from labeling.strategies.pool import Pool
from tests.source_code import ROOT, imported, reached_from

KEY = b"a key"
NAMES = [f"sample-{number}" for number in range(10_000)]


def test_numbers_are_even_in_zero_to_one_and_say_nothing_of_the_part() -> None:
    numbers = np.array([audit_number(KEY, name) for name in NAMES])
    is_report = np.array([part_of(KEY, name, 0.3) == Part.REPORT for name in NAMES])
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 150  # five standard deviations
    assert abs(is_report.mean() - 0.3) < 0.023
    assert abs(np.corrcoef(numbers, is_report)[0, 1]) < 0.05


def test_a_number_is_for_ever_and_another_key_gives_another() -> None:
    assert audit_number(KEY, "a") == audit_number(KEY, "a") == pytest.approx(0.0894088, abs=1e-7)
    assert audit_number(KEY, "a") != audit_number(b"another", "a")


def test_a_part_moves_only_to_the_reports_when_their_share_is_larger() -> None:
    small, large = ({one for one in NAMES if part_of(KEY, one, share) == Part.REPORT}
                    for share in (0.3, 0.5))  # fmt: skip
    assert small < large


def test_no_strategy_can_reach_the_key_or_the_numbers() -> None:
    assert set(inspect.signature(Pool).parameters) == {
        "probs", "embeddings", "ensemble", "labelled", "labels", "allowed",
    }  # fmt: skip
    assert STRATEGIES
    paths = tuple(sorted((ROOT / "labeling" / "strategies").glob("*.py")))
    assert not [one for one in reached_from(paths) if one.startswith("labeling.audit")]
    select = ROOT / "labeling" / "batches" / "select.py"
    assert not [one for one in imported(select) if one.startswith("labeling.audit")]


def test_a_share_of_all_images_is_refused() -> None:
    with pytest.raises(HoneError, match=r"audit.share is 1"):
        AuditPolicy(share=1.0)
