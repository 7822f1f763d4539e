"""`hone fsck`: every promise, checked over database, stores and remotes, in any state.

It changes nothing. A kill can leave a step unfinished; that breaks no promise, the next run
finishes it. What is reported is broken: each finding has the promise, what is wrong, and a remedy.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Engine

from core import journal_checks as journal
from core.access import close_to_others
from core.checks import others_have_no_access, tokens_only_rise
from core.database import writing
from core.findings import MEND, RESTORE, Finding
from core.locks import only_writer
from core.workspace import Workspace
from labeling.ingest.checks import samples_are_in_their_shards
from labeling.ledger import checks as ledger
from labeling.ledger.overview import recount
from labeling.snapshots import checks as snapshots
from labeling.snapshots.publish import list_snapshots, repair_snapshots
from models.registry import checks as registry
from models.registry.versions import snapshots_of_models
from models.serving import checks as serving
from models.serving.prediction_store import drain_again
from models.watching.checks import signals_are_three_valued
from tasks.context import open_context


@dataclass(frozen=True)
class Check:
    """One check of a promise in docs/promises.md."""

    promise: str
    find: Callable[[Engine, Workspace], Iterable[Finding]]


def check() -> list[Finding]:
    """Everything that is wrong in the workspace; an empty list when every promise holds."""
    ctx = open_context()
    findings: list[Finding] = []
    for name, one in CHECKS.items():
        try:
            findings += one.find(ctx.engine, ctx.workspace)
        except Exception as error:  # a part that cannot be read must not hide the others
            findings.append(Finding("I13", f"{name} ({one.promise}) failed: {error}", MEND))
    return findings


def repair() -> None:
    """Mend what can be: snapshots from cache and remote, models, counts, undrained traffic."""
    from models.registry.model_store import finish_saves

    ctx = open_context()
    close_to_others(ctx.workspace.root)
    with writing(ctx.engine) as connection:
        recount(connection)
    with only_writer(ctx.engine, "workspace-git") as token:
        repair_snapshots(ctx.engine, ctx.workspace, token)
    finish_saves(ctx.engine, ctx.workspace.bento_home)
    drain_again(ctx.engine, ctx.workspace.traffic)


def models_lead_to_snapshots(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots that a model was trained on and that are not on record."""
    for name in sorted(snapshots_of_models(engine) - set(list_snapshots(engine)["name"])):
        yield Finding("I9", f"models.snapshot {name} is not in snapshots", RESTORE)


CHECKS: dict[str, Check] = {
    "served_images_are_whole": Check("I1", serving.served_images_are_whole),
    "served_records_are_stored": Check("I1", serving.served_records_are_stored),
    "a_sample_has_one_open_row": Check("I2", ledger.a_sample_has_one_open_row),
    "a_round_is_sent_or_pending": Check("I2", ledger.a_round_is_sent_or_pending),
    "counts_are_right": Check("I2", ledger.counts_are_right),
    "samples_are_in_their_shards": Check("I3", samples_are_in_their_shards),
    "snapshots_are_on_the_remote": Check("I4", snapshots.snapshots_are_on_the_remote),
    "tags_are_snapshots": Check("I4", snapshots.tags_are_snapshots),
    "snapshots_are_as_frozen": Check("I5", snapshots.snapshots_are_as_frozen),
    "releases_are_justified": Check("I6", registry.releases_are_justified),
    "the_champion_loads": Check("I6", registry.the_champion_loads),
    "tokens_only_rise": Check("I8", tokens_only_rise),
    "predictions_lead_to_models": Check("I9", serving.predictions_lead_to_models),
    "models_lead_to_snapshots": Check("I9", models_lead_to_snapshots),
    "stored_models_are_recorded": Check("I9", registry.stored_models_are_recorded),
    "ledger_rows_lead_to_samples": Check("I9", ledger.ledger_rows_lead_to_samples),
    "labels_rest_on_answers": Check("I9", ledger.labels_rest_on_answers),
    "labels_are_classes": Check("I10", ledger.labels_are_classes),
    "verdicts_rest_on_evidence": Check("I11", registry.verdicts_rest_on_evidence),
    "held_out_samples_are_not_trained_on": Check(
        "I11", snapshots.held_out_samples_are_not_trained_on
    ),
    "signals_are_three_valued": Check("I12", signals_are_three_valued),
    "models_hold_data_only": Check("I14", registry.models_hold_data_only),
    "others_have_no_access": Check("I14", others_have_no_access),
    "the_journal_is_whole": Check("I16", journal.the_journal_is_whole),
    "rows_are_as_journaled": Check("I16", journal.rows_are_as_journaled),
}
