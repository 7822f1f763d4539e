"""`hone fsck`: every promise, checked over database, stores and remotes, in any state.

It changes nothing. A kill can leave a step unfinished; that breaks no promise, the next run
finishes it. What is reported is broken: each finding names the thing, the promise, the harm and a
remedy.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from core import checks as base
from core import journal_checks as journal
from core.findings import MEND, RESTORE, Finding
from core.workspace import Workspace
from labeling.audit import checks as audit
from labeling.ingest import checks as ingest
from labeling.ledger import checks as ledger
from labeling.ledger.watermarks import ADOPTED, watermark_of
from labeling.snapshots import checks as snapshots
from labeling.snapshots.publish import list_snapshots
from models.registry import checks as registry
from models.registry.versions import snapshots_of_models
from models.rollout import checks as rollout
from models.scoring import checks as scoring
from models.serving import checks as serving
from models.serving.prediction_store import count_predictions
from models.watching import alert_checks, outcome_checks
from models.watching import checks as watching
from tasks.context import open_context, workspace_folder
from tasks.operate.verdicts import verdicts_follow_from_duels


@dataclass(frozen=True)
class Check:
    """One check of a promise in docs/promises.md, and what follows where it is broken."""

    promise: str
    harm: str
    find: Callable[[Engine, Workspace], Iterable[Finding]]


def check() -> list[Finding]:
    """Everything that is wrong in the workspace; an empty list when every promise holds."""
    try:
        ctx = open_context()
    except (SQLAlchemyError, ValueError) as error:
        if not (workspace_folder() / ".git").exists():
            raise  # it is no workspace
        what = f"the workspace cannot be opened: {str(error).splitlines()[0]}"
        return [Finding("I2", what, REOPEN, "no command works in this workspace")]
    findings: list[Finding] = []
    for name, one in CHECKS.items():
        try:
            for finding in one.find(ctx.engine, ctx.workspace):
                findings.append(replace(finding, harm=finding.harm or one.harm))
        except Exception as error:  # a part that cannot be read must not hide the others
            what = f"{name} ({one.promise}) failed: {error}"
            findings.append(Finding("I13", what, MEND, f"it is not known whether {one.harm}"))
    return findings


def adopted_traffic_was_served(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """A watermark of adopted traffic beyond the last prediction: the next ones are passed over."""
    with engine.connect() as connection:
        if adopted_ahead(connection):
            what = f"watermark {ADOPTED!r} is beyond the last prediction"
            yield Finding("I3", what, "`hone fsck --repair` drops it: all is looked at again")


def adopted_ahead(connection: Connection) -> bool:
    """Whether more traffic counts as adopted than was served."""
    value = watermark_of(connection, ADOPTED) or "0"
    return not value.isdecimal() or int(value) > count_predictions(connection)


def models_lead_to_snapshots(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots that a model was trained on and that are not on record."""
    for name in sorted(snapshots_of_models(engine) - set(list_snapshots(engine)["name"])):
        yield Finding("I9", f"models.snapshot {name} is not in snapshots", RESTORE)


REOPEN = (
    "`hone fsck --repair` puts hone.toml back from git if it is gone; a damaged database comes "
    "from a backup"
)
UNTRACED = "a prediction cannot be traced back to what it rests on"
UNLABELLED = "what annotators decided is lost, or another class is trained on"
CHECKS: dict[str, Check] = {
    "served_images_are_whole": Check(
        "I1", "the answer has no image to check or to train on", serving.served_images_are_whole
    ),
    "erased_images_are_gone": Check(
        "I17", "an image that was to be deleted can be looked at", serving.erased_images_are_gone
    ),
    "erased_samples_are_gone": Check(
        "I17", "an image that was to be deleted can be looked at", snapshots.erased_samples_are_gone
    ),
    "served_records_are_stored": Check(
        "I1", "answers that clients got are counted and watched by nobody",
        serving.served_records_are_stored,
    ),
    "predictions_are_as_served": Check(
        "I1", "drift and accuracy are computed from answers that nobody got",
        serving.predictions_are_as_served,
    ),
    "feedback_is_stored": Check(
        "I1", "what people said about answers judges and trains nothing",
        outcome_checks.feedback_is_stored,
    ),
    "trials_are_stored": Check(
        "I11", "a trial goes on or ends by a part of what was compared", rollout.trials_are_stored
    ),
    "callbacks_are_stored": Check(
        "I1", "who asked for a label never gets it", serving.callbacks_are_stored
    ),
    "the_database_is_whole": Check(
        "I2", "queries give wrong rows, and writes make it worse", base.the_database_is_whole
    ),
    "tables_and_triggers_are_there": Check(
        "I2", "the database no longer refuses doubles, or no longer counts",
        base.tables_and_triggers_are_there,
    ),
    "a_sample_has_one_open_row": Check(
        "I2", "a sample is asked or counted twice", ledger.a_sample_has_one_open_row
    ),
    "a_round_is_sent_or_pending": Check(
        "I2", "its samples wait for annotators who never get them",
        ledger.a_round_is_sent_or_pending,
    ),
    "rounds_are_complete": Check(
        "I2", "it is forgotten what was asked, and why", ledger.rounds_are_complete
    ),
    "counts_are_right": Check(
        "I2", "status and batches go by wrong counts", ledger.counts_are_right
    ),
    "samples_are_in_their_shards": Check(
        "I3", "the image is lost for training and review", ingest.samples_are_in_their_shards
    ),
    "watermarks_are_not_ahead": Check(
        "I3", "what came in between is never read", ledger.watermarks_are_not_ahead
    ),
    "adopted_traffic_was_served": Check(
        "I3", "served images are not taken in", adopted_traffic_was_served
    ),
    "snapshots_are_on_the_remote": Check(
        "I4", "the snapshot cannot be pulled elsewhere, and this copy is the last one",
        snapshots.snapshots_are_on_the_remote,
    ),
    "tags_are_snapshots": Check(
        "I4", "a snapshot is visible that training does not know", snapshots.tags_are_snapshots
    ),
    "snapshots_are_as_frozen": Check(
        "I5", "a model trained on it cannot be made again", snapshots.snapshots_are_as_frozen
    ),
    "the_cache_is_whole": Check(
        "I5", "a checkout gives wrong bytes, and mending counts on them",
        snapshots.the_cache_is_whole,
    ),
    "the_table_is_the_newest_snapshot": Check(
        "I5", "who reads the table reads other labels than were frozen",
        snapshots.the_table_is_the_newest_snapshot,
    ),
    "the_repository_is_whole": Check(
        "I5", "snapshots cannot be found by their names", base.the_repository_is_whole
    ),
    "releases_are_justified": Check(
        "I6", "a model is in service that nothing speaks for", registry.releases_are_justified
    ),
    "releases_are_complete": Check(
        "I6", "it is not known what was served when", registry.releases_are_complete
    ),
    "models_are_whole": Check(
        "I6", "the model cannot be served or compared", registry.models_are_whole
    ),
    "tokens_only_rise": Check(
        "I8", "a process that was suspended may write beside its successor", base.tokens_only_rise
    ),
    "rows_lead_to_rows": Check("I9", UNTRACED, base.rows_lead_to_rows),
    "predictions_lead_to_models": Check("I9", UNTRACED, serving.predictions_lead_to_models),
    "models_lead_to_snapshots": Check("I9", UNTRACED, models_lead_to_snapshots),
    "models_are_as_saved": Check(
        "I9", "the record of a model is about another one", registry.models_are_as_saved
    ),
    "stored_models_are_recorded": Check("I9", UNTRACED, registry.stored_models_are_recorded),
    "answers_are_as_given": Check("I9", UNLABELLED, ledger.answers_are_as_given),
    "labels_rest_on_answers": Check("I9", UNLABELLED, ledger.labels_rest_on_answers),
    "truths_follow_from_outcomes": Check(
        "I9", "accuracy in service is computed from truths that nobody gave",
        outcome_checks.truths_follow_from_outcomes,
    ),
    "labels_are_classes": Check(
        "I10", "training stops at a class that is none", ledger.labels_are_classes
    ),
    "shards_are_of_samples": Check(
        "I10", "a file that nothing checked gets into snapshots", ingest.shards_are_of_samples
    ),
    "scores_are_whole": Check(
        "I10", "samples are chosen and guessed by wrong predictions", scoring.scores_are_whole
    ),
    "verdicts_rest_on_evidence": Check(
        "I11", "a model is released on figures that were not measured",
        registry.verdicts_rest_on_evidence,
    ),
    "verdicts_follow_from_duels": Check(
        "I11", "a model is released on answers that nobody gave", verdicts_follow_from_duels
    ),
    "audit_samples_are_drawn": Check(
        "I11", "accuracy is measured on others than were drawn", audit.audit_samples_are_drawn
    ),
    "near_duplicates_are_together": Check(
        "I11", "an image may be trained on and measured on", ingest.near_duplicates_are_together
    ),
    "the_index_of_thumbnails_is_whole": Check(
        "I11", "near-duplicates of new images are missed", ingest.the_index_of_thumbnails_is_whole
    ),
    "held_out_samples_are_not_trained_on": Check(
        "I11", "accuracy looks better than it is", snapshots.held_out_samples_are_not_trained_on
    ),
    "signals_are_three_valued": Check(
        "I12", "missing evidence counts as no drift", watching.signals_are_three_valued
    ),
    "decisions_are_of_their_windows": Check(
        "I12", "traffic counts as checked that was not", watching.decisions_are_of_their_windows
    ),
    "incidents_are_complete": Check(
        "I12", "it is not known when it drifted and what was done", watching.incidents_are_complete
    ),
    "halts_have_reasons": Check(
        "I12", "the service answers or not, and nobody knows why", watching.halts_have_reasons
    ),
    "alerts_reach_their_channels": Check(
        "I13", "nobody hears of what was raised", alert_checks.alerts_reach_their_channels
    ),
    "models_hold_data_only": Check(
        "I14", "code may run when a model is opened", registry.models_hold_data_only
    ),
    "others_have_no_access": Check(
        "I14", "who has an account here may read images and answers, or change them",
        base.others_have_no_access,
    ),
    "bentos_are_as_built": Check(
        "I14", "another code is served than was packaged, or none", registry.bentos_are_as_built
    ),
    "the_journal_is_whole": Check(
        "I16", "a change of any row may be hidden", journal.the_journal_is_whole
    ),
    "rows_are_as_journaled": Check(
        "I16", "what was recorded is another or gone", journal.rows_are_as_journaled
    ),
}  # fmt: skip
