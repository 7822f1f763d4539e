"""`hone fsck --repair`: what is broken, made whole from whatever second copy there is."""

from collections.abc import Callable

from core.access import close_to_others
from core.checks import mend_index, missing_files, remake_indexes_and_triggers
from core.database import writing
from core.git import clear_dead_locks, git
from core.journal_repair import restore_rows
from core.locks import fence, only_writer
from labeling.ingest.checks import the_index_of_thumbnails_is_whole
from labeling.ingest.intake import index_folder
from labeling.ingest.near_duplicates import drop_index
from labeling.ledger.checks import watermarks_ahead
from labeling.ledger.overview import recount
from labeling.ledger.watermarks import ADOPTED, drop_watermark
from labeling.snapshots.repair import repair_snapshots
from labeling.snapshots.replaced import erase_again
from models.registry.bento import damaged_bentos, rebuild
from models.registry.model_store import finish_saves
from models.registry.stored_entries import mend_tags
from models.rollout.spool import drain_shadow_again
from models.scoring.checks import drop_damaged_scores
from models.serving.erasures import erase_again as erase_traffic_again
from models.serving.prediction_store import drain_again, restore_predictions
from models.watching.decisions import skip_truths
from models.watching.outcome_checks import truths_follow_from_outcomes
from models.watching.outcomes import ClassNames, make_again
from tasks.context import Context, open_context, workspace_folder
from tasks.operate.fsck import adopted_ahead


def repair() -> list[str]:
    """Mend what a second copy can mend; return a sentence for each thing that none can."""
    put_settings_back()
    ctx = open_context()
    left: list[str] = []
    for name, step in STEPS.items():
        try:
            left += step(ctx) or []
        except Exception as error:  # one part in ruins must not keep the others from being mended
            left.append(f"{name}: {error}")
    return left


def put_settings_back() -> None:
    """Bring back a `hone.toml` that is gone, as git has it: nothing opens without it."""
    root = workspace_folder()
    if not (root / "hone.toml").exists() and (root / ".git").exists():
        git(root, "checkout", "HEAD", "--", "hone.toml")


def _modes(ctx: Context) -> None:
    close_to_others(ctx.workspace.root)


def _schema(ctx: Context) -> None:
    with writing(ctx.engine) as connection:
        remake_indexes_and_triggers(connection)


def _rows(ctx: Context) -> list[str]:
    return restore_rows(ctx.engine, ctx.workspace)


def _counts(ctx: Context) -> None:
    with writing(ctx.engine) as connection:
        recount(connection)


def _watermarks(ctx: Context) -> None:
    with writing(ctx.engine) as connection:
        for name, _, _ in list(watermarks_ahead(connection)):
            drop_watermark(connection, name)
        if adopted_ahead(connection):
            drop_watermark(connection, ADOPTED)


def _repository(ctx: Context) -> None:
    with only_writer(ctx.engine, "workspace-git"):
        clear_dead_locks(ctx.workspace.root)
        mend_index(ctx.workspace)
        for name in missing_files(ctx.workspace):
            git(ctx.workspace.root, "checkout", "HEAD", "--", name)


def _snapshots(ctx: Context) -> list[str]:
    with only_writer(ctx.engine, "workspace-git") as token:
        erase_again(ctx.engine, ctx.workspace)
        return repair_snapshots(ctx.engine, ctx.workspace, token)


def _models(ctx: Context) -> None:
    finish_saves(ctx.engine, ctx.workspace.bento_home)
    mend_tags(ctx.engine, ctx.workspace.bento_home)


def _bentos(ctx: Context) -> None:
    for version in {version for version, _ in damaged_bentos(ctx.workspace)}:
        rebuild(ctx.workspace, version)


def _traffic(ctx: Context) -> None:
    drain_again(ctx.engine, ctx.workspace.traffic)
    drain_shadow_again(ctx.engine, ctx.workspace.traffic)
    restore_predictions(ctx.engine, ctx.workspace.traffic)
    erase_traffic_again(ctx.engine, ctx.workspace.traffic)


def _truths(ctx: Context) -> None:
    if any(truths_follow_from_outcomes(ctx.engine, ctx.workspace)):
        with only_writer(ctx.engine, "feedback") as token, writing(ctx.engine) as connection:
            fence(connection, token)
            skip_truths(connection, make_again(connection, ClassNames(ctx.workspace.class_names)))


def _caches(ctx: Context) -> None:
    drop_damaged_scores(ctx.workspace)
    if any(the_index_of_thumbnails_is_whole(ctx.engine, ctx.workspace)):
        drop_index(index_folder(ctx.workspace))


STEPS: dict[str, Callable[[Context], list[str] | None]] = {
    "modes": _modes,
    "rows": _rows,  # before unique indexes, which refuse rows that were put in twice
    "indexes and triggers": _schema,
    "counts": _counts,
    "watermarks": _watermarks,
    "files that git keeps": _repository,
    "snapshots": _snapshots,
    "models": _models,
    "bentos": _bentos,
    "served predictions": _traffic,
    "truths": _truths,  # after predictions, from which they follow
    "caches": _caches,
}
