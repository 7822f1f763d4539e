"""`hone fsck`: every promise, checked over database, stores and remotes, in any state.

It changes nothing. A kill can leave a step unfinished; that breaks no promise, the next run
finishes it. What is named here is broken: each problem says which promise, what, and the remedy.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, func, select

from core.files import file_sha256
from core.git import tags
from core.intents import intents, open_intents
from core.locks import locks, only_writer
from core.shards import read_image
from labeling.ledger.tables import (
    answers,
    assignments,
    audit,
    gold,
    labels,
    location_of,
    rounds,
    samples,
    snapshots,
)
from labeling.snapshots import publish as frozen
from models.registry.versions import AUTOMATIC, models, releases, verdicts
from models.serving.prediction_store import predictions
from models.watching.decisions import decisions, signals
from tasks.context import Context, open_context

OUTCOMES = {"drift", "no drift", "cannot tell"}
REPAIR = "`hone fsck --repair` mends what the cache or the remote still has"
DATA_ONLY = {".safetensors", ".json", ".npz", ".yaml", ".yml"}


@dataclass(frozen=True)
class Finding:
    """One promise found broken."""

    promise: str  # I1 to I15
    what: str
    remedy: str


def check() -> list[Finding]:
    """Everything that is wrong in the workspace; an empty list when every promise holds."""
    ctx = open_context()
    found: list[Finding] = []
    with ctx.engine.connect() as connection:
        for one in CHECKS:
            try:
                found += one(ctx, connection)
            except Exception as error:  # one part in ruins must not hide the others
                rule = (one.__doc__ or one.__name__).partition("\n")[0]
                found.append(Finding("I13", f"could not look ({rule}): {error}", REPAIR))
    return found


def repair() -> None:
    """Mend what copies can mend: snapshots from cache and remote, half-saved models."""
    from models.registry.model_store import finish_saves

    ctx = open_context()
    with only_writer(ctx.engine, "workspace-git") as token:
        frozen.repair_snapshots(ctx.engine, ctx.workspace, token)
    finish_saves(ctx.engine, ctx.workspace.bento_home)


def served_answers_are_kept(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I1: each recorded answer's image is where its row says, whole."""
    from models.serving.prediction_store import read_served_image

    for row in connection.execute(select(predictions).order_by(predictions.c.seq)):
        try:
            read_served_image(ctx.workspace.traffic, row)
        except (OSError, ValueError) as error:
            yield Finding(
                "I1",
                f"prediction {row.prediction_id}: {error}",
                f"restore {ctx.workspace.traffic / row.segment} from a backup",
            )


def nothing_is_doubled(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I2: a sample is once before the annotators and has one label in force."""
    for table, closed in ((assignments, assignments.c.closed_at), (labels, labels.c.replaced_at)):
        twice = connection.execute(
            select(table.c.sample_id, func.count())
            .where(closed.is_(None))
            .group_by(table.c.sample_id)
            .having(func.count() > 1)
        )
        for sample_id, count in twice:
            yield Finding(
                "I2",
                f"sample {sample_id[:12]} has {count} open rows in {table.name}",
                "the unique index is gone: restore the database from a backup",
            )
    confirmed = connection.execute(
        select(rounds.c.round_id)
        .where(rounds.c.sent_at.is_(None))
        .where(
            rounds.c.round_id.not_in(
                select(intents.c.key).where(
                    intents.c.kind == "send-round", intents.c.confirmed_at.is_(None)
                )
            )
        )
    )
    for (round_id,) in confirmed:
        yield Finding(
            "I2",
            f"{round_id} was never sent and nothing says that it will be",
            f"run `hone label --round {round_id}`",
        )


def samples_are_conserved(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I3: each sample's bytes are in its shard, as they were when it came in."""
    rows = pd.read_sql(select(samples).order_by(samples.c.shard, samples.c.offset), connection)
    for shard, members in rows.groupby("shard"):
        path = ctx.workspace.shards / str(shard)
        if path.is_file() and file_sha256(path) == path.stem:
            yield from _members_differ(ctx, members)
        else:
            state = "is damaged" if path.is_file() else "is missing"
            yield Finding(
                "I3",
                f"shard {shard} {state}: {len(members)} samples",
                f"{REPAIR}; what no snapshot has, `hone ingest` of the same files",
            )


def snapshots_are_whole(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I4 and I5: each snapshot is on the remote, whole, and its table is what was frozen."""
    rows = connection.execute(select(snapshots).order_by(snapshots.c.number)).all()
    for problem in frozen.verify_remote(ctx.workspace, *[row.name for row in rows]):
        yield Finding("I4", problem, REPAIR)
    for row in rows:
        try:
            frozen.load_snapshot(ctx.engine, ctx.workspace, row.name)
        except (RuntimeError, ValueError) as error:
            yield Finding("I5", str(error), REPAIR)
    known = {row.name for row in rows} | set(open_intents(connection, "snapshot"))
    for name in sorted(set(tags(ctx.workspace.root)) - known):
        if name.startswith("snapshot-"):
            yield Finding(
                "I4",
                f"git tag {name} is no snapshot of the ledger",
                "the database is older than its workspace: restore it from a backup",
            )


def champion_is_sound(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I6: every release had a PROMOTE verdict or a named person, and the champion loads."""
    rows = connection.execute(
        select(releases, verdicts.c.outcome)
        .join(verdicts, verdicts.c.verdict_id == releases.c.verdict_id, isouter=True)
        .order_by(releases.c.number)
    ).all()
    for row in rows:
        if row.outcome != "PROMOTE" and not (row.who and row.why and row.who != AUTOMATIC):
            yield Finding(
                "I6",
                f"release {row.number} of {row.champion} has verdict {row.outcome}",
                "release the model before it: `hone release VERSION --who NAME --why ...`",
            )
    if rows:
        yield from _unsound_model(ctx, rows[-1].champion)


def writers_hold_their_tokens(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I8: no intent carries a token that was never given out."""
    highest = connection.scalar(select(func.max(locks.c.token))) or 0
    for row in connection.execute(select(intents).where(intents.c.token > highest)):
        yield Finding(
            "I8",
            f"intent {row.kind} {row.key} has token {row.token}, above {highest}",
            "the table of locks was set back: restore the database from a backup",
        )


def lineage_has_no_gap(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I9: predictions lead to models, models to snapshots, labels to answers."""
    ways = [
        (predictions.c.model, models.c.version),
        (models.c.snapshot, snapshots.c.name),
        (audit.c.sample_id, samples.c.sample_id),
        (answers.c.sample_id, samples.c.sample_id),
    ]
    for here, there in ways:
        for key in connection.scalars(select(here).where(here.not_in(select(there))).distinct()):
            yield Finding(
                "I9",
                f"{here.table.name}.{here.name} {key} is not in {there.table.name}",
                "restore the database from a backup",
            )
    known = set(connection.scalars(select(answers.c.seq)))
    for row in connection.execute(select(labels)):
        if missing := set(json.loads(row.answers)) - known:
            yield Finding(
                "I9",
                f"label {row.seq} rests on answers {sorted(missing)} that are gone",
                "restore the database from a backup",
            )


def only_valid_labels(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I10: every label in force is a class of `hone.toml`."""
    classes = ctx.workspace.class_names
    strange = (
        select(
            labels.c.label, func.count().label("rows"), func.min(labels.c.sample_id).label("one")
        )
        .where(labels.c.replaced_at.is_(None), labels.c.label.not_in(classes))
        .group_by(labels.c.label)
    )
    for row in connection.execute(strange):
        yield Finding(
            "I10",
            f"{row.rows} samples are labelled {row.label!r}, for example {row.one[:12]}",
            f"hone.toml has {', '.join(classes)}: add the class, or correct the answers",
        )


def verdicts_rest_on_evidence(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I11: no PROMOTE on figures that are missing, and no audit or gold sample in training."""
    for row in connection.execute(select(verdicts).where(verdicts.c.outcome == "PROMOTE")):
        accuracy = json.loads(row.metrics).get("challenger_accuracy")
        if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
            yield Finding(
                "I11",
                f"{row.verdict_id} promotes on accuracy {accuracy!r}",
                "judge again: `hone retrain`",
            )
    audited = set(connection.scalars(select(audit.c.sample_id)))
    newest = connection.scalar(
        select(snapshots.c.name).order_by(snapshots.c.number.desc()).limit(1)
    )
    if newest is None:
        return
    try:
        table = frozen.load_snapshot(ctx.engine, ctx.workspace, newest)
    except (RuntimeError, ValueError):
        return  # named under I5
    trained = table[table["split"].isin(["train", "val", "soft"])]
    tested = table[table["split"] == "test"]
    apart = audited | set(connection.scalars(select(gold.c.sample_id)))
    leaked = trained["sample_id"].isin(apart) | trained["group_id"].isin(tested["group_id"])
    for sample_id in trained.loc[leaked, "sample_id"]:
        yield Finding(
            "I11",
            f"{newest}: audit or gold sample {sample_id[:12]}, or its like, is trained on",
            "cut a new snapshot with `hone collect`, then `hone retrain`",
        )


def drift_answers_are_three_valued(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I12: a signal says drift, no drift or cannot tell, and no decision ignores the last."""
    for row in connection.execute(select(signals, decisions.c.action).join(decisions)):
        ignored = row.outcome == "cannot tell" and row.action == "none"
        if row.outcome not in OUTCOMES or ignored:
            yield Finding(
                "I12",
                f"{row.decision_id}: signal {row.name} says {row.outcome!r}, "
                f"the decision is {row.action!r}",
                "check the window again: `hone watch`",
            )


def no_code_among_models(ctx: Context, connection: Connection) -> Iterator[Finding]:
    """I14: the model store holds data alone."""
    folder = ctx.workspace.bento_home / "models"
    for path in sorted(folder.rglob("*")) if folder.exists() else []:
        if path.is_file() and path.name != "latest" and path.suffix not in DATA_ONLY:
            yield Finding(
                "I14",
                f"{path} is none of {', '.join(sorted(DATA_ONLY))}",
                "remove it: Hone writes no such file and would not load it",
            )


Check = Callable[[Context, Connection], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    served_answers_are_kept,
    nothing_is_doubled,
    samples_are_conserved,
    snapshots_are_whole,
    champion_is_sound,
    writers_hold_their_tokens,
    lineage_has_no_gap,
    only_valid_labels,
    verdicts_rest_on_evidence,
    drift_answers_are_three_valued,
    no_code_among_models,
)


def _members_differ(ctx: Context, members: pd.DataFrame) -> Iterator[Finding]:
    """Rows whose bytes are not what the shard has at that place."""
    for row in members.itertuples():
        try:
            read_image(ctx.workspace.shards, location_of(row))
        except (OSError, ValueError) as error:
            yield Finding(
                "I3",
                f"sample {str(row.sample_id)[:12]}: {error}",
                "its row does not fit the shard: restore the database from a backup",
            )


def _unsound_model(ctx: Context, version: str) -> Iterator[Finding]:
    from models.registry.model_store import load_model

    try:
        load_model(ctx.engine, ctx.workspace.bento_home, version)
    except (OSError, RuntimeError, ValueError) as error:
        yield Finding(
            "I6",
            f"champion {version}: {error}",
            "release another: `hone release VERSION --who NAME --why ...`",
        )
