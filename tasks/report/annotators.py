"""Reports on annotators and labels: read from the ledger, for commands and for Prefect."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Engine

from labeling.consensus.settle import SettlePolicy
from labeling.ledger import report_queries as queries
from labeling.ledger.gold import gold_labels
from labeling.ledger.metadata import count_slices
from labeling.quality.reports import (
    AnnotatorReport,
    QualityReport,
    report_annotators,
    report_quality,
)


def annotators_report(
    engine: Engine, policy: SettlePolicy, classes: Sequence[str]
) -> AnnotatorReport:
    """How good, how fast and how independent each annotator is."""
    with engine.connect() as connection:
        return report_annotators(
            queries.load_shown_answers(connection),
            gold=gold_labels(connection),
            labels=queries.load_label_table(connection),
            policy=policy,
            classes=classes,
        )


def quality_report(engine: Engine, policy: SettlePolicy, classes: Sequence[str]) -> QualityReport:
    """How far annotators agree, how the labels stand, and what is disputed or refused."""
    with engine.connect() as connection:
        report = report_quality(
            queries.load_shown_answers(connection),
            labels=queries.load_label_table(connection),
            gold=len(gold_labels(connection)),
            assignments=queries.count_assignments(connection),
            refused_answers=queries.refused_by_reason(connection),
            refused=queries.newest_refused(connection),
            policy=policy,
            classes=classes,
        )
        return replace(report, slices=count_slices(connection))
