"""Samples that are erased: by their age, or because a person asked for it.

It is decided in one transaction, from which on the sample is none and nothing reads its image. Then
its bytes go, in the traffic and in the shards, here, in DVC's cache and on the remote; then that is
recorded. What a killed run decided is finished by the next one.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from core.database import writing
from core.errors import HoneError
from core.locks import LockBusy, Token, fence, only_writer
from labeling.ingest.intake import index_folder
from labeling.ingest.near_duplicates import drop_index
from labeling.ledger import erased
from labeling.ledger.answers import known_samples
from labeling.snapshots.replaced import replace_shards
from models.serving import erasures
from models.serving.prediction_store import drain, find_prediction
from models.watching.outcome_queries import predictions_of_samples, weak_truths
from tasks.context import Context

LOCK = "retention"
SHARDS = "workspace-git"
# Who holds one of these may read a sample, or write rows that lead to it.
LOCKS = ("intake", "rounds", "answers", "training", SHARDS, LOCK)
WAIT = 5.0  # seconds for each: what is not erased now is erased at the next check


@dataclass(frozen=True)
class Erased:
    """What was erased because a person asked for it."""

    images: int  # different ones, in the traffic or among the samples, that were there
    samples: int
    before: int  # images that were erased already
    left: list[str]  # a sentence for each shard that cannot be written anew now


def erase_old_samples(ctx: Context, who: str) -> int:
    """Erase samples of the traffic that nobody answered in time; return how many. Idempotent."""
    if not _has_work(ctx):
        return 0
    try:
        with _only_writers(ctx) as tokens:
            return _erase_old(ctx, tokens, who)
    except LockBusy as busy:
        print(f"samples are erased at the next check: {busy}")
        return 0


def erase_named(ctx: Context, names: Sequence[str], *, who: str, why: str) -> Erased:
    """Erase the images of these predictions or samples, all or none, and what was left to erase.

    A sample that somebody decided about is an error: labels, snapshots and models rest on it.
    """
    drain(ctx.engine, ctx.workspace.traffic)
    sample_ids = _samples_named(ctx, names)
    with _only_writers(ctx) as tokens:
        with _deciding(ctx, tokens) as connection:
            _refuse_bound(connection, sample_ids)
            there = erasures.images_there(connection, sample_ids)
            there |= set(known_samples(connection, sorted(sample_ids)))
            samples = _decide(ctx, connection, sample_ids, who=who, why=why)
        before = len(sample_ids) - len(there)
        return Erased(len(there), samples, before, _finish(ctx, tokens))


def _has_work(ctx: Context) -> bool:
    with ctx.engine.connect() as connection:
        return bool(erased.undone(connection) or _old(ctx, connection))


def _erase_old(ctx: Context, tokens: Mapping[str, Token], who: str) -> int:
    with _deciding(ctx, tokens) as connection:
        chosen = _old(ctx, connection)
        count = _decide(ctx, connection, chosen, who=who, why=erasures.SAMPLE_AGE)
    for problem in _finish(ctx, tokens):
        print(f"an erased sample is not gone yet: {problem}")
    return count


def _old(ctx: Context, connection: Connection) -> list[str]:
    """The samples that the policy erases now."""
    days = ctx.policies.retention.sample_days
    if not days:
        return []
    trained_on = weak_truths(connection) if ctx.policies.watch.weak_weight else []
    spared = {one.sample_id for one in trained_on}
    before = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")
    return erased.old_unanswered(connection, before, spared=spared)


@contextmanager
def _only_writers(ctx: Context) -> Iterator[dict[str, Token]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(only_writer(ctx.engine, name, patience=WAIT))
            for name in LOCKS
        }


@contextmanager
def _deciding(ctx: Context, tokens: Mapping[str, Token]) -> Iterator[Connection]:
    with writing(ctx.engine) as connection:
        for token in tokens.values():
            fence(connection, token)
        yield connection


def _decide(
    ctx: Context, connection: Connection, sample_ids: Collection[str], *, who: str, why: str
) -> int:
    """Decide that these images go; return how many of them were samples."""
    samples = sorted(known_samples(connection, sorted(sample_ids)))
    number = erasures.decide_samples(
        connection, ctx.policies.retention, who=who, why=why, sample_ids=sample_ids,
        forgotten=len(samples),
    )  # fmt: skip
    if number is not None:
        erased.forget_samples(connection, number, samples)
    return len(samples)


def _finish(ctx: Context, tokens: Mapping[str, Token]) -> list[str]:
    """Erase what was decided; return what of it cannot be erased now."""
    erasures.carry_out(ctx.engine, tokens[LOCK], ctx.workspace.traffic)
    with ctx.engine.connect() as connection:
        numbers = erased.undone(connection)
    if not numbers:
        return []
    drop_index(index_folder(ctx.workspace))  # it has their thumbnails; an intake makes it anew
    left = replace_shards(ctx.engine, ctx.workspace, tokens[SHARDS])
    if not left:
        with _deciding(ctx, tokens) as connection:
            erased.mark_erased(connection, numbers)
            erasures.confirm_samples(connection, numbers)
    return left


def _samples_named(ctx: Context, names: Sequence[str]) -> set[str]:
    """The images that these predictions and samples are of."""
    sample_ids = set()
    for name in names:
        row = find_prediction(ctx.engine, name)
        sample_ids.add(name if row is None else str(row.sample_id))
    with ctx.engine.connect() as connection:
        known = set(known_samples(connection, sorted(sample_ids)))
        known |= predictions_of_samples(connection, sorted(sample_ids)).keys()
        known |= erased.erased_before(connection, sample_ids)
    for name in sorted(sample_ids - known):
        raise HoneError(
            f"{name!r} is neither a prediction nor a sample; give the `prediction_id` of an answer "
            "or the id of a sample, as `hone trace` shows it"
        )
    return sample_ids


def _refuse_bound(connection: Connection, sample_ids: Collection[str]) -> None:
    for sample_id, why in sorted(erased.bound(connection, sample_ids).items()):
        raise HoneError(
            f"sample {sample_id} is not erased: {why}; nothing was erased. Give the others without "
            "it; what was labelled goes only with the workspace: export it, leave the image out, "
            "and import the rest into a new one"
        )
