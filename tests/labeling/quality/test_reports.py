"""Reports as values: what they hold of tables that no database is needed for."""

import json
from dataclasses import asdict

import pandas as pd

from labeling.consensus.settle import SettlePolicy
from labeling.ledger.report_queries import AssignmentCounts, RefusedAnswer
from labeling.quality.reports import report_annotators, report_quality

NO_ASSIGNMENTS = AssignmentCounts(0, 0, 0, 0, 0, 0)
REFUSED = RefusedAnswer("UNKNOWN_CLASS", "ann", "task 7: 'zebra'", "2026")
ANSWERS = pd.DataFrame(
    {
        "seq": [1, 2, 3],
        "sample_id": ["s", "s", "t"],
        "annotator": ["ann", "ben", "ann"],
        "kind": ["answer", "answer", "skip"],
        "value": ["cat", "dog", None],
        "lead_time": [1.0, 2.0, 1.0],
        "round_id": ["round-0001"] * 3,
        "pre_annotation": [None] * 3,
        "blind": [False] * 3,
    }
)
LABELS = pd.DataFrame(
    {"sample_id": ["s"], "label": ["cat"], "trust": [0.5], "method": ["majority"]}
)


def test_a_class_that_was_removed_still_has_its_confusions_after_the_others() -> None:
    report = report_annotators(
        ANSWERS, gold=pd.Series({"s": "elk"}), labels=LABELS, policy=SettlePolicy(), classes=["dog"]
    )
    assert report.confusions == {"ann": {"elk": {"cat": 1}}, "ben": {"elk": {"dog": 1}}}
    assert [row.annotator for row in report.annotators] == ["ann", "ben"]
    assert (report.everybody.answers, report.everybody.skips, report.everybody.right) == (2, 1, 0)


def test_a_quality_report_is_json_as_it_is_and_names_doubtful_labels() -> None:
    report = report_quality(
        ANSWERS, labels=LABELS, gold=0, assignments=NO_ASSIGNMENTS,
        refused_answers={"UNKNOWN_CLASS": 1}, refused=[REFUSED],
        policy=SettlePolicy(), classes=["cat", "dog"],
    )  # fmt: skip
    content = json.loads(json.dumps(asdict(report), allow_nan=False))
    assert content["labels"]["balance"] == {"cat": 1, "dog": 0}
    assert content["refused"] == [asdict(REFUSED)]
    assert [row["name"] for row in content["agreement"]["classes"]] == ["cat", "dog"]
    assert "1 of 1 labels are trusted less than" in report.remarks[1]
