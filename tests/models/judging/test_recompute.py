"""A verdict made anew from its record: the same bytes, and whatever was changed is named."""

import pytest

from models.judging import recompute
from models.judging.criterion import Criterion, Status
from models.judging.gate import conclude
from tests.models.judging.test_duel_record import samples
from tests.tasks.duels import record_of

CRITERIA = (
    Criterion("rows", Status.PASS, "40 rows"),
    Criterion("gain", Status.UNKNOWN, "not shown to be better", rejects=True, value=0.25),
)


def test_a_verdict_follows_from_its_criteria() -> None:
    recorded = recompute.as_recorded(conclude(CRITERIA, {"rows": 40}))
    again = recompute.as_recorded(recompute.verdict_again({"verdict_id": "v", **recorded}))
    assert recompute.canonical(again) == recompute.canonical(recorded)
    assert recompute.differences(recorded, again) == []


def test_an_older_verdict_has_nothing_to_follow_from() -> None:
    row = {"verdict_id": "verdict-1", "outcome": "HOLD", "reasons": [], "metrics": {}}
    with pytest.raises(ValueError, match="verdict-1 is from an older version"):
        recompute.verdict_again(row)


@pytest.mark.parametrize("stopped", [None, "the champion is gone"])
def test_the_verdict_of_a_duel_follows_from_outputs_and_answers(stopped: str | None) -> None:
    record, rows = record_of("+" * 30), samples("++-+0?+-" * 3)
    verdict = record.verdict("duel-0001", rows, stopped=stopped)
    recorded = recompute.as_recorded(verdict)
    again = recompute.as_recorded(
        recompute.duel_again(recorded, "duel-0001", record.as_json(), rows)
    )
    assert recompute.canonical(again) == recompute.canonical(recorded)
    rows.loc[0, "answer"] = "dog"
    changed = recompute.as_recorded(
        recompute.duel_again(recorded, "duel-0001", record.as_json(), rows)
    )
    names = [line.partition(":")[0] for line in recompute.differences(recorded, changed)]
    assert "metrics.duel.populations.pool.counts.wins" in names


def test_each_difference_is_named_with_both_values() -> None:
    one = {"outcome": "HOLD", "metrics": {"rows": [1, 2], "gone": 1}}
    other = {"outcome": "PROMOTE", "metrics": {"rows": [1, 3]}}
    assert recompute.differences(one, other) == [
        "metrics.gone: recorded is 1, computed None",
        "metrics.rows[1]: recorded is 2, computed 3",
        "outcome: recorded is 'HOLD', computed 'PROMOTE'",
    ]
