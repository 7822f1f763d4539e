"""Commands about served traffic: check it, say why, accept a drift, halt and resume the service."""

from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated

import typer

from core.text import printable
from flows.cli.options import AsJson, echo_json, single_run

PANEL = "Watching"
app = typer.Typer()


class Halting(StrEnum):
    """What a halted service answers."""

    refuse = "refuse"
    abstain = "abstain"


Who = Annotated[str, typer.Option(help="The person who takes responsibility.")]
Why = Annotated[str, typer.Option(help="The reason, kept for good.")]


@app.command(rich_help_panel=PANEL)
def watch(
    window: Annotated[int | None, typer.Option(help="Predictions in one window.")] = None,
    accept: Annotated[
        str | None, typer.Option(help="A decision whose traffic is known from now on.")
    ] = None,
    who: Annotated[str, typer.Option(help="With --accept: who takes responsibility.")] = "",
    why: Annotated[str, typer.Option(help="With --accept: the reason, kept for good.")] = "",
) -> None:
    """Check the served traffic and decide; or take a drift for known."""
    if accept is not None:
        from tasks.operate.watch_records import accept_drift

        made = accept_drift(accept, who=who, why=why)
        typer.echo(f"{accept} is known, by {who}{f'; {made.ended} ends' if made.ended else ''}")
        if made.halt is not None:
            halted = f"the service is still halted ({made.halt.policy}, by {made.halt.who})"
            typer.echo(printable(f"{halted}: `hone resume` lets it answer again"))
        return
    with single_run():
        from flows.watch_traffic import watch_traffic
        from tasks.context import open_context

        policy = open_context().policies.watch
        watch_traffic(None if window is None else replace(policy, window=window))


@app.command(rich_help_panel=PANEL)
def why(
    count: Annotated[int, typer.Argument(min=1, help="How many of the last decisions.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show the last decisions: signals, why, why not, and what would change them."""
    from tasks.operate.watch_records import last_decisions
    from tasks.report.decision_view import show_decisions

    decisions = last_decisions(count)
    if as_json:
        echo_json([asdict(one) for one in decisions])
    else:
        show_decisions(decisions)


@app.command(rich_help_panel=PANEL)
def incidents(
    incident_id: Annotated[str | None, typer.Argument(help="Default: all of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the incidents, or the page of one of them."""
    from tasks.operate.watch_records import all_incidents, one_incident
    from tasks.report.decision_view import show_incidents
    from tasks.report.incident_page import incident_page

    if incident_id is None:
        every = all_incidents()
        if as_json:
            echo_json([asdict(one) for one in every])
        else:
            show_incidents(every)
        return
    incident, decisions = one_incident(incident_id)
    if as_json:
        echo_json(incident)
    else:
        for line in incident_page(incident, decisions, []).splitlines():
            typer.echo(printable(line))


@app.command(rich_help_panel=PANEL)
def halt(
    who: Who,
    why: Why,
    policy: Annotated[
        Halting, typer.Option(help="503, or answers that abstain and need review.")
    ] = Halting.refuse,
) -> None:
    """Halt the service until a person resumes it; it follows within two seconds."""
    from models.registry.halts import HaltPolicy
    from tasks.operate import watch_records

    watch_records.halt(HaltPolicy(policy.value), who=who, why=why)
    typer.echo(f"the service is halted ({policy.value}), by {who}")


@app.command(rich_help_panel=PANEL)
def resume(who: Who, why: Why) -> None:
    """Let a halted service answer again."""
    from tasks.operate import watch_records

    watch_records.resume(who=who, why=why)
    typer.echo(f"the service answers again, by {who}")
