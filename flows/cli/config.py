"""The command that prints the configuration in force."""

from typing import TYPE_CHECKING

import typer

from flows.cli.options import AsJson, echo_json

if TYPE_CHECKING:
    from tasks.operate.effective_config import EffectiveConfig

app = typer.Typer()


@app.command(rich_help_panel="Workspace")
def config(as_json: AsJson = False) -> None:
    """Print each value in force and where it comes from: default, hone.toml, environment, .env."""
    from tasks.context import open_context
    from tasks.operate.effective_config import effective_config

    effective = effective_config(open_context())
    if as_json:
        echo_json(effective)
    else:
        _show(effective)


def _show(effective: "EffectiveConfig") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE, title=effective.workspace, title_justify="left")
    for heading in ("section", "name", "value", "from"):
        table.add_column(heading, overflow="fold")
    previous = ""
    for row in effective.values:
        if previous not in ("", row.section):
            table.add_section()
        shown = "" if row.value is None else str(row.value)
        style = None if row.source != "default" else "dim"
        table.add_row(row.section, row.name, shown, row.source, style=style)
        previous = row.section
    console.print(table)
    for change in effective.changes:
        if change.effect:
            run = f" ({change.run})" if change.run else ""
            console.print(f"{change.changed_at[:19]}  {change.section}: {change.effect}{run}")
