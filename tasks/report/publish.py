"""Reports as tables and pages in Prefect, made by the flows."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from prefect import task

from core.database import writing
from labeling.budget.learning_curve import BudgetPolicy
from labeling.consensus.settle import SettlePolicy
from labeling.ledger import report_queries as queries
from tasks.context import open_context
from tasks.direct_run import is_direct_run
from tasks.report.annotators import annotators_report, quality_report
from tasks.report.annotators_view import agreement_rows, annotator_rows
from tasks.report.artifacts import escape_markdown, publish_page, publish_table
from tasks.report.budget import budget_report
from tasks.report.budget_view import budget_page
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
    if report.annotators:
        quality = quality_report(ctx.engine, settling, classes)
        _publish("annotators", annotator_rows(report), report.remarks)
        _publish("agreement", agreement_rows(quality), quality.remarks)
    with writing(ctx.engine) as connection:
        queries.save_reported_version(connection, version)


@task
def publish_budget(policy: BudgetPolicy = BudgetPolicy()) -> None:  # noqa: B008 - frozen
    """Show what more labels would bring, and the advice, on a page in Prefect."""
    try:
        report = budget_report(policy)
    except ValueError as error:
        print(f"no forecast yet: {error}")
        return
    advice = f"{report.advice}: {report.reason}"
    print(advice)
    publish_page(key="budget", markdown=budget_page(report), description=advice)


def _publish(key: str, rows: Sequence[Row], remarks: Sequence[str]) -> None:
    table = [{name: escape_markdown(cell) for name, cell in row.items()} for row in rows]
    listed = "\n".join(f"* {escape_markdown(line)}" for line in remarks)
    publish_table(key=key, table=table, description=listed)
