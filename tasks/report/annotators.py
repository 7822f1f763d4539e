"""Reports on annotators and labels: read from the ledger, for commands and for Prefect."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from prefect import task
from sqlalchemy import Engine

from core.database import writing
from labeling.consensus.settle import SettlePolicy
from labeling.ledger import report_queries as queries
from labeling.ledger.gold import gold_labels
from labeling.quality.reports import (
    AnnotatorReport,
    QualityReport,
    report_annotators,
    report_quality,
)
from tasks.context import open_context
from tasks.direct_run import is_direct_run
from tasks.report.annotators_view import agreement_rows, annotator_rows
from tasks.report.artifacts import escape_markdown, publish_table
from tasks.report.console import Row


@task
def publish_annotators(settling: SettlePolicy) -> None:
    """Show the figures of the annotators, and how far they agree, as two tables in Prefect.

    Both read every answer, so that they are made anew when answers have grown by a hundredth, when
    the policy changed, or after a day; nothing is read where nothing changed.
    """
    if is_direct_run():
        return  # without Prefect there is no place for them
    ctx = open_context()
    classes = ctx.workspace.class_names
    policy = json.dumps(asdict(settling), sort_keys=True)
    with ctx.engine.connect() as connection:
        version = queries.ledger_version(connection, settings=[policy, *classes])
        if not version.needs_report(queries.reported_version(connection)):
            return
    report = annotators_report(ctx.engine, settling, classes)
    if not report.annotators:
        return
    quality = quality_report(ctx.engine, settling, classes)
    _publish("annotators", annotator_rows(report), report.remarks)
    _publish("agreement", agreement_rows(quality), quality.remarks)
    with writing(ctx.engine) as connection:
        queries.save_reported_version(connection, version)


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
        return report_quality(
            queries.load_shown_answers(connection),
            labels=queries.load_label_table(connection),
            gold=len(gold_labels(connection)),
            assignments=queries.count_assignments(connection),
            refused_answers=queries.refused_by_reason(connection),
            refused=queries.newest_refused(connection),
            policy=policy,
            classes=classes,
        )


def _publish(key: str, rows: Sequence[Row], remarks: Sequence[str]) -> None:
    table = [{name: escape_markdown(cell) for name, cell in row.items()} for row in rows]
    listed = "\n".join(f"* {escape_markdown(line)}" for line in remarks)
    publish_table(key=key, table=table, description=listed)
