"""A verdict as it is on record, and made anew from the record alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection, Engine

from core.findings import RESTORE, Finding
from core.text import printable
from core.workspace import Workspace
from labeling.ledger import duels
from labeling.ledger.duels import Duel, load_duel_samples
from models.registry import versions
from models.registry.overview import newest_verdict
from tasks.report.console import print_line


@dataclass(frozen=True)
class Recomputed:
    """A verdict beside the one that the record leads to now."""

    verdict_id: str
    content: bytes  # what the record leads to
    differences: list[str]  # fields that were recorded otherwise; none: the bytes are the same


def verdict_row(engine: Engine, verdict_id: str | None) -> dict[str, Any]:
    """The record of a verdict, by default of the newest."""
    if verdict_id is not None:
        return dict(versions.find_verdict(engine, verdict_id)._mapping)
    with engine.connect() as connection:
        row = newest_verdict(connection)
    if row is None:
        raise ValueError("there is no verdict yet; `hone retrain` makes one")
    return dict(row._mapping)


def show_verdict(row: dict[str, Any], console: Console | None = None) -> None:
    """Print a verdict: outcome, why, what would change it, and a table of its criteria."""
    from models.judging.verdict import stored_verdict
    from tasks.report.verdict_view import COLUMNS, Pair, table_rows, verdict_lines

    screen = console or Console(highlight=False)
    verdict = stored_verdict(row["outcome"], row["reasons"], row["metrics"])
    pair = Pair(row["challenger"], row["champion"], row["snapshot"])
    print_line(screen, f"{row['verdict_id']}, {row['decided_at'][:16]}")
    for line in verdict_lines(verdict, pair):
        print_line(screen, line)
    table = Table()
    for name in COLUMNS:
        table.add_column(name)
    for cells in table_rows(verdict):
        table.add_row(*(escape(printable(cells[name])) for name in COLUMNS))
    if verdict.criteria:
        screen.print(table)


def recompute(engine: Engine, verdict_id: str | None) -> Recomputed:
    """The verdict that the record leads to, compared with the one that it has."""
    row = verdict_row(engine, verdict_id)
    with engine.connect() as connection:
        return _recomputed(connection, row, duels.duel_of_verdict(connection, row["verdict_id"]))


def _recomputed(connection: Connection, row: dict[str, Any], duel: Duel | None) -> Recomputed:
    from models.judging import recompute as again

    if duel is None:
        verdict = again.verdict_again(row)
    else:
        samples = load_duel_samples(connection, duel.duel_id)
        verdict = again.duel_again(row, duel.duel_id, duel.plan, samples)
    made = again.as_recorded(verdict)
    recorded = {name: row[name] for name in again.REMADE}
    return Recomputed(row["verdict_id"], again.canonical(made), again.differences(recorded, made))


def verdicts_follow_from_duels(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Duels whose counted values or verdict are others than outputs and answers lead to."""
    from models.judging.duel_record import DuelRecord

    with engine.connect() as connection:
        known = versions.known_versions(engine)
        for duel in duels.all_duels(connection):
            for model in sorted({duel.champion, duel.challenger} - known):
                yield Finding("I9", f"{duel.duel_id} is of {model}, which is no model", RESTORE)
            record = DuelRecord.from_json(duel.plan)
            table = load_duel_samples(connection, duel.duel_id)
            for row, counts in zip(table.itertuples(), _whole(table["value"]), strict=True):
                if (value := record.value_of(row)) != counts:
                    what = f"sample {str(row.sample_id)[:12]} of {duel.duel_id} counts {counts}"
                    yield Finding("I11", f"{what}, its answer makes it {value}", RESTORE)
            if duel.ended_at is not None:
                yield from _unlike_verdict(connection, engine, duel)


def _whole(values: pd.Series) -> list[int | None]:
    return [None if value != value else int(value) for value in values]  # but NaN


def _unlike_verdict(connection: Connection, engine: Engine, duel: Duel) -> Iterator[Finding]:
    try:
        row = dict(versions.find_verdict(engine, str(duel.verdict_id))._mapping)
    except ValueError as error:
        yield Finding("I11", f"{duel.duel_id} has ended: {error}", RESTORE)
        return
    differing = _recomputed(connection, row, duel).differences
    if duel.outcome != row["outcome"]:
        differing.append(f"outcome: the duel has {duel.outcome}, its verdict {row['outcome']}")
    for line in differing:
        what = f"{row['verdict_id']} does not follow from {duel.duel_id}: {line}"
        yield Finding("I11", what, RESTORE)
