"""Single corruptions of a workspace: what each damages, what `hone fsck` says, what it mends.

docs/corruptions.md shows the table; test_corruptions.py makes each corruption and compares.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from core.database import connect
from core.git import git
from tests.tasks.operate.sound_duel import add_ended_duel

Damage = Callable[[Path], object]  # of the workspace in a folder


@dataclass(frozen=True)
class Corruption:
    """One corruption, and what becomes of it."""

    store: str
    name: str
    damage: Damage
    promise: str
    finding: str  # a part of what is reported
    mended: bool = False  # by `hone fsck --repair`, to what was there before; else left as it is
    outcome: str = ""  # of the repair, where it is neither
    afterwards: str = ""  # a part of what is reported then, where it is another
    prepare: Damage = lambda root: None

    @property
    def title(self) -> str:
        return f"{self.store}: {self.name}"


def sql(*statements: str) -> Damage:
    """Change the database as no code of Hone would: without foreign keys."""

    def damage(root: Path) -> None:
        with closing(sqlite3.connect(root / "hone.sqlite")) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount != 0, statement
            connection.commit()

    return damage


def inserted(table: str, **changed: str) -> Damage:
    """A copy of the first row, with these SQL expressions in the place of its values."""

    def damage(root: Path) -> None:
        with closing(sqlite3.connect(root / "hone.sqlite")) as connection:
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
            names = [row[1] for row in rows]
            values = ", ".join(changed.get(name, f'"{name}"') for name in names)
            quoted = ", ".join(f'"{name}"' for name in names)
            statement = f"INSERT INTO {table} ({quoted}) SELECT {values} FROM {table} LIMIT 1"
            assert connection.execute(statement).rowcount == 1
            connection.commit()

    return damage


def files(pattern: str, change: Callable[[Path], object]) -> Damage:
    """Do something to every file of a pattern."""

    def damage(root: Path) -> None:
        matching = [path for path in sorted(root.glob(pattern)) if path.is_file()]
        assert matching, pattern
        for path in matching:
            path.chmod(0o644)
            change(path)

    return damage


def flipped(pattern: str, place: int = -1) -> Damage:
    """A bit of each file is another."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return files(pattern, change)


def truncated(pattern: str) -> Damage:
    """Each file has lost its second half."""
    return files(pattern, lambda path: path.write_bytes(path.read_bytes()[: _half(path)]))


def _half(path: Path) -> int:
    return path.stat().st_size // 2


def deleted(pattern: str) -> Damage:
    """Each file is gone."""
    return files(pattern, Path.unlink)


def emptied(pattern: str) -> Damage:
    """Each file has no bytes."""
    return files(pattern, lambda path: path.write_bytes(b""))


def replaced(pattern: str, text: str) -> Damage:
    """Each file has another content."""
    return files(pattern, lambda path: path.write_text(text))


def edited(pattern: str, old: str, new: str) -> Damage:
    """A text in each file is another."""

    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return files(pattern, change)


def added(folder: str, name: str, text: str = "x") -> Damage:
    """A file that Hone did not write, in the first folder of a pattern."""
    return lambda root: (min(root.glob(folder)) / name).write_text(text)


def folder_gone(pattern: str) -> Damage:
    """A folder is gone with all that is in it."""
    return lambda root: shutil.rmtree(min(root.glob(pattern)))


def in_git(*arguments: str) -> Damage:
    """What somebody did with git."""
    return lambda root: git(root, *arguments)


def both(*damages: Damage) -> Damage:
    """Several at once."""
    return lambda root: [one(root) for one in damages]


def page(name: str, place: int) -> Damage:
    """Bytes of the page of the database in which a table or index begins are others."""

    def damage(root: Path) -> None:
        path = root / "hone.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
            (number,) = connection.execute(query, (name,)).fetchone()
        content = bytearray(path.read_bytes())
        start = (number - 1) * size + place % size
        content[start : start + 4] = bytes(255 - byte for byte in content[start : start + 4])
        path.write_bytes(content)

    return damage


def schema(name: str, old: str, new: str) -> Damage:
    """The definition of a part of the schema is another."""

    def damage(root: Path) -> None:
        with closing(sqlite3.connect(root / "hone.sqlite")) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            change = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?"
            assert connection.execute(change, (old, new, name)).rowcount == 1
            connection.commit()

    return damage


def ended_duel(root: Path) -> None:
    """A duel that has ended."""
    add_ended_duel(connect(f"sqlite:///{root / 'hone.sqlite'}"))


C = Corruption
CACHE, REMOTE = ".dvc/cache/files/md5", "remote/files/md5"
MODEL, BENTO = "bento/models/hone/0*", "bento/bentos/hone/0*"
SHARD, TABLE = "data/shards/*.tar", "data/labels.parquet"
SCORES, THUMBNAILS = "scores/hone-*", "scores/thumbnails"

ROWS = (
    C("answers", "a value is another class", sql("UPDATE answers SET value = 'dog' WHERE seq = 1"),
      "I9", "another was given"),
    C("answers", "an annotator is another", sql("UPDATE answers SET annotator = 'x' WHERE seq = 1"),
      "I9", "another was given"),
    C("answers", "an answer is a skip", sql("UPDATE answers SET kind = 'skip' WHERE seq = 1"),
      "I9", "another was given"),
    C("answers", "one is gone", sql("DELETE FROM answers WHERE seq = 1"),
      "I9", "label_answers.answer_seq 1 is not in answers"),
    C("answers", "all are gone", sql("DELETE FROM answers"), "I9", "is not in answers"),
    C("answers", "one is about another sample",
      sql("UPDATE answers SET sample_id = 'nobody' WHERE seq = 1"),
      "I9", "nobody is not in samples"),
    C("answers", "one more, of nobody's hand", inserted(
        "answers", seq="99", digest="'0'", external_id="'x'"),
      "I9", "answer 99"),
    C("labels", "one is another class",
      sql("UPDATE labels SET label = 'dog' WHERE sample_id = 'a'"),
      "I9", "its answers are cat"),
    C("labels", "one is no class", sql("UPDATE labels SET label = 'cow' WHERE sample_id = 'a'"),
      "I10", "labelled 'cow'"),
    C("labels", "its annotators are others",
      sql("""UPDATE labels SET annotators = '["bob"]' WHERE sample_id = 'a'"""), "I9", "by bob"),
    C("labels", "one is gone", sql("DELETE FROM labels WHERE sample_id = 'a'"),
      "I9", "label_answers.label_seq"),
    C("labels", "all are gone", sql("DELETE FROM labels"), "I9", "label_answers.label_seq"),
    C("labels", "all are gone, with what they rested on",
      sql("DELETE FROM labels", "DELETE FROM label_answers"), "I9", "is not in labels"),
    C("labels", "a second one in force", both(
        sql("DROP INDEX uq_labels_in_force"), inserted("labels", seq="99")),
      "I2", "2 open rows in labels"),
    C("labels", "what they rest on is gone", sql("DELETE FROM label_answers"),
      "I9", "rests on no answer"),
    C("labels", "one rests on another answer",
      sql("UPDATE label_answers SET answer_seq = 98 WHERE label_seq = 1"), "I9", "answer_seq 98"),
    C("gold", "a known class is another", sql("UPDATE gold SET label = 'cat'"),
      "I9", "gold sample f"),
    C("gold", "one is about another sample", sql("UPDATE gold SET sample_id = 'nobody'"),
      "I9", "gold.sample_id nobody"),
    C("gold", "one is among the samples trained on", sql("UPDATE gold SET sample_id = 'b'"),
      "I11", "gold sample b"),
    C("rounds", "one is gone", sql("DELETE FROM rounds"), "I9", "round-0001 is not in rounds"),
    C("rounds", "its number is another", sql("UPDATE rounds SET number = 7"),
      "I2", "7 rounds were"),
    C("rounds", "one more, that was never sent", inserted(
        "rounds", round_id="'round-0002'", number="2", sent_at="NULL"),
      "I2", "round-0002 was not sent"),
    C("rounds", "it is marked as not sent", sql("UPDATE rounds SET sent_at = NULL"),
      "I2", "round-0001 was not sent"),
    C("assignments", "one is gone", sql("DELETE FROM assignments WHERE sample_id = 'b'"),
      "I2", "has 4 assignments"),
    C("assignments", "one is in another round",
      sql("UPDATE assignments SET round_id = 'round-0009' WHERE sample_id = 'b'"),
      "I9", "round-0009 is not in rounds"),
    C("assignments", "one is about another sample",
      sql("UPDATE assignments SET sample_id = 'nobody' WHERE sample_id = 'b'"),
      "I2", "assignments.sample_id nobody"),
    C("assignments", "a second one is open for a sample", both(
        sql("DROP INDEX uq_assignments_open", "UPDATE assignments SET closed_at = NULL"),
        inserted("assignments", round_id="'round-0002'")),
      "I2", "2 open rows in assignments"),
    C("assignments", "the audit's reason is another",
      sql("UPDATE assignments SET reason = 'margin' WHERE sample_id = 'e'"),
      "I11", "has no assignment as such"),
    C("audit", "a probability is 0", sql("UPDATE audit SET inclusion_probability = 0"),
      "I11", "probability 0.0"),
    C("audit", "a probability is above 1", sql("UPDATE audit SET inclusion_probability = 1.5"),
      "I11", "probability 1.5"),
    C("audit", "a probability is another", sql("UPDATE audit SET inclusion_probability = 0.9"),
      "I11", "its assignment has 0.2"),
    C("audit", "a number is another", sql("UPDATE audit SET number = 0.1"),
      "I11", "number 0.1, the key gives 0.18"),
    C("audit", "a number is gone", sql("UPDATE audit SET number = NULL"), "I11", "has no number"),
    C("audit", "a share is below the number", sql("UPDATE audit SET inclusion_probability = 0.1"),
      "I11", "not below its share 0.1"),
    C("audit", "a row of the gate reports", sql("UPDATE audit SET part = 'report'"),
      "I11", "is of the part 'report', the key gives 'gate'"),
    C("audit", "the share of the parts is none", sql("UPDATE audit SET report_share = 2"),
      "I11", "was divided by the share 2.0"),
    C("audit", "one is gone", sql("DELETE FROM audit"), "I11", "is not in audit"),
    C("audit_key", "it is another", sql("UPDATE audit_key SET key = '00'"), "I11", "the key gives"),
    C("audit_key", "it is gone", sql("DELETE FROM audit_key"), "I11", "there is no key"),
    C("audit", "a sample trained on is in it", inserted("audit", sample_id="'b'"),
      "I11", "audit or gold sample b"),
    C("samples", "a group of near-duplicates is another",
      sql("UPDATE samples SET group_id = 'a' WHERE sample_id = 'b'"), "I11", "resembles no other"),
    C("samples", "a near-duplicate has its own group",
      sql("UPDATE samples SET group_id = 'd' WHERE sample_id = 'd'"), "I11", "and in others"),
    C("samples", "a group is none",
      sql("UPDATE samples SET group_id = 'zz' WHERE sample_id = 'b'"), "I11", "which is none"),
    C("samples", "a thumbnail is another",
      sql("UPDATE samples SET thumbnail = zeroblob(256) WHERE sample_id = 'a'"),
      "I11", "other thumbnails than the samples",
      afterwards="sample_id=a was changed without the journal: thumbnail"),
    C("samples", "a place in the shard is another",
      sql("UPDATE samples SET offset = offset + 1 WHERE sample_id = 'a'"), "I3", "sample a:"),
    C("samples", "a length is another",
      sql("UPDATE samples SET length = length + 1 WHERE sample_id = 'a'"), "I3", "sample a:"),
    C("samples", "a sum is another",
      sql("UPDATE samples SET stored_sha256 = '0' WHERE sample_id = 'a'"), "I3", "sample a:"),
    C("samples", "a shard is another",
      sql("UPDATE samples SET shard = 'no.tar' WHERE sample_id = 'a'"), "I3", "no.tar is missing"),
    C("samples", "one is gone", sql("DELETE FROM samples WHERE sample_id = 'a'"),
      "I9", "a is not in samples"),
    C("samples", "one more, without an image",
      inserted("samples", sample_id="'z'", shard="'z.tar'"),
      "I3", "z.tar is missing"),
    C("snapshots", "one is gone", sql("DELETE FROM snapshots"),
      "I4", "is no snapshot of the ledger"),
    C("snapshots", "its table's sum is another", sql("UPDATE snapshots SET table_sha256 = '0'"),
      "I5", "0 was frozen"),
    C("snapshots", "its rows are more", sql("UPDATE snapshots SET rows = rows + 1"),
      "I5", "in the database"),
    C("snapshots", "its fingerprint is another", sql("UPDATE snapshots SET fingerprint = '0'"),
      "I5", "its fingerprint is 0"),
    C("snapshots", "its seed is another", sql("UPDATE snapshots SET seed = 7"),
      "I5", "its seed is 7"),
    C("snapshots", "its time is another", sql("UPDATE snapshots SET created_at = '2000'"),
      "I5", "its created_at is 2000"),
    C("snapshots", "its commit is another",
      sql("UPDATE snapshots SET \"commit\" = '0'"), "I5", "its git tag stands for"),
    C("snapshots", "its number is another", sql("UPDATE snapshots SET number = 7"),
      "I5", "it has the number 7"),
    C("snapshots", "one more, of the same commit",
      inserted("snapshots", name="'snapshot-0002'", number="2"),
      "I4", "snapshot-0002: its git tag"),
    C("models", "metrics are others", sql("UPDATE models SET metrics = '{\"accuracy\": 0.9}'"),
      "I9", "models.metrics of"),
    C("models", "a card is another", sql("UPDATE models SET config = '{}'"),
      "I9", "models.config of"),
    C("models", "a seed is another", sql("UPDATE models SET seed = 7"), "I9", "models.seed of"),
    C("models", "the commit of its code is another", sql("UPDATE models SET code_commit = '0'"),
      "I9", "models.code_commit of"),
    C("models", "its snapshot is another", sql("UPDATE models SET snapshot = 'snapshot-0009'"),
      "I9", "snapshot-0009 is not in snapshots"),
    C("models", "the sum of its files is another", sql("UPDATE models SET weights_sha256 = '0'"),
      "I6", "manifest.json"),
    C("models", "one is gone", sql("DELETE FROM models"), "I9", "is in the store and not in the"),
    C("models", "one more, without files", inserted("models", version="'hone:0002-b'"),
      "I6", "hone:0002-b: manifest.json is missing"),
    C("verdicts", "an accuracy is missing", sql("UPDATE verdicts SET metrics = '{}'"),
      "I11", "promotes on accuracy None"),
    C("verdicts", "an accuracy is another",
      sql("UPDATE verdicts SET metrics = '{\"challenger_accuracy\": 0.9}'"), "I11", "was changed"),
    C("verdicts", "an outcome is another", sql("UPDATE verdicts SET outcome = 'HOLD'"),
      "I6", "has verdict HOLD"),
    C("verdicts", "its reasons are others", sql("UPDATE verdicts SET reasons = '[]'"),
      "I11", "was changed"),
    C("verdicts", "its rows are others", sql("UPDATE verdicts SET rows_fingerprint = '0'"),
      "I11", "was changed"),
    C("verdicts", "one is gone", sql("DELETE FROM verdicts"), "I6", "has verdict None"),
    C("verdicts", "one more, of another name", inserted("verdicts", verdict_id="'verdict-2'"),
      "I11", "verdict-2"),
    C("releases", "one has no verdict", sql("UPDATE releases SET verdict_id = NULL"),
      "I6", "has verdict None"),
    C("releases", "another model is in service",
      sql("UPDATE releases SET champion = 'hone:0002-b'"),
      "I9", "releases.champion hone:0002-b"),
    C("releases", "a number is another", sql("UPDATE releases SET number = 7"), "I6", "7 releases"),
    C("releases", "one more, without a reason", inserted(
        "releases", number="2", verdict_id="NULL", who="'ann'", why="''"),
      "I6", "release 2 of"),
    C("decisions", "a window is another", sql("UPDATE decisions SET last_seq = 1"),
      "I12", "the name of another window"),
    C("decisions", "an action is none", sql("UPDATE decisions SET action = 'ignore'"),
      "I12", "which is no decision"),
    C("decisions", "one is gone", sql("DELETE FROM decisions"), "I9", "signals.decision_id"),
    C("decisions", "its signals are gone", sql("DELETE FROM signals"), "I12", "rests on no signal"),
    C("decisions", "a signal's outcome is none", sql("UPDATE signals SET outcome = 'perhaps'"),
      "I12", "says 'perhaps'"),
    C("decisions", "a signal that cannot tell is passed over",
      sql("UPDATE signals SET outcome = 'cannot tell'"), "I12", "the decision is 'none'"),
    C("decisions", "one more of the same traffic", inserted(
        "decisions", decision_id="'decision-2'", first_seq="2"), "I12", "decision-2"),
)  # fmt: skip

PREDICTIONS = (
    C("predictions", "a label is another",
      sql("UPDATE predictions SET label = 'dog' WHERE seq = 1"),
      "I1", "label is dog", mended=True),
    C("predictions", "probabilities are others",
      sql("UPDATE predictions SET probabilities = '[0.1]' WHERE seq = 1"),
      "I1", "probabilities is [0.1]", mended=True),
    C("predictions", "a confidence is another", sql("UPDATE predictions SET confidence = 0.01"),
      "I1", "confidence is 0.01", mended=True),
    C("predictions", "its time is another", sql("UPDATE predictions SET served_at = '2000'"),
      "I1", "served_at is 2000", mended=True),
    C("predictions", "whether it needs a review is another",
      sql("UPDATE predictions SET needs_review = 1 - needs_review"),
      "I1", "needs_review is", mended=True),
    C("predictions", "its model is another", sql("UPDATE predictions SET model = 'hone:0009-a'"),
      "I9", "predictions.model hone:0009-a", mended=True),
    C("predictions", "its image is another", sql("UPDATE predictions SET sample_id = '0'"),
      "I1", "0 was served", mended=True),
    C("predictions", "its place is another", sql("UPDATE predictions SET \"offset\" = 0"),
      "I1", "was served", mended=True),
    C("predictions", "the last is gone", sql("DELETE FROM predictions WHERE seq = 2"),
      "I1", "are not stored: 1", mended=True),
    C("predictions", "one in the middle is gone", sql("DELETE FROM predictions WHERE seq = 1"),
      "I1", "are not stored: 1", mended=True),
    C("predictions", "one more, that was not served", inserted(
        "predictions", prediction_id="'x'", seq="3"), "I1", "is in no record of its segment",
      mended=True),
    C("segments", "it counts as drained too far",
      sql("UPDATE segments SET drained_to = drained_to + 5"), "I1", "5 bytes behind its end",
      mended=True),
    C("traffic", "an image has another bit", flipped("traffic/*.seg"), "I1", "was served"),
    C("traffic", "the head of a record has another bit", flipped("traffic/*.seg", 9),
      "I1", "is damaged from byte 0"),
    C("traffic", "the JSON of a record has another bit", flipped("traffic/*.seg", 60),
      "I1", "is damaged from byte 0"),
    C("traffic", "a segment is cut", truncated("traffic/*.seg"), "I1", "bytes behind its end",
      afterwards="is in no record of its segment"),
    C("traffic", "a segment is gone", deleted("traffic/*.seg"), "I1", "No such file"),
    C("traffic", "a segment is empty", emptied("traffic/*.seg"), "I1", "bytes behind its end",
      afterwards="is in no record of its segment"),
    C("traffic", "a segment of nobody", added("traffic", "0-1-0011223344556677.seg"),
      "I1", "is damaged from byte 0"),
)  # fmt: skip

BOOKKEEPING = (
    C("counts", "a count is another",
      sql("UPDATE row_counts SET value = 9 WHERE name = 'sample:labelled:ingest'"),
      "I2", "row_counts has 9", mended=True),
    C("counts", "a count is gone", sql("DELETE FROM row_counts"), "I2", "row_counts has 0",
      mended=True),
    C("counts", "a sample's state is another",
      sql("UPDATE sample_states SET state = 'pool' WHERE sample_id = 'a'"), "I2", "sample a is",
      mended=True),
    C("counts", "a sample's state is gone", sql("DELETE FROM sample_states WHERE sample_id = 'a'"),
      "I2", "sample a is missing", mended=True),
    C("locks", "the tokens were set back", sql("UPDATE locks SET token = 0"), "I8", "above 0",
      mended=True),
    C("locks", "all are gone", sql("DELETE FROM locks"), "I8", "above 0", mended=True),
    C("intents", "a snapshot's content is another",
      sql("UPDATE intents SET payload = '{}' WHERE kind = 'snapshot'"), "I5", "was decided"),
    C("intents", "that of a snapshot is gone", sql("DELETE FROM intents WHERE kind = 'snapshot'"),
      "I5", "no intent to make it"),
    C("watermarks", "that of Label Studio is in the future",
      sql("INSERT INTO watermarks VALUES ('label-studio:1', '9999-01-01T00:00:00Z')"),
      "I3", "in the future", mended=True),
    C("watermarks", "that of settling is beyond the newest answer",
      sql("INSERT INTO watermarks VALUES ('settled', '{\"last_answer\": 99}')"),
      "I3", "beyond the newest answer", mended=True),
    C("watermarks", "that of settling cannot be read",
      sql("INSERT INTO watermarks VALUES ('settled', 'x')"),
      "I3", "beyond the newest answer", mended=True),
    C("watermarks", "that of adopted traffic is beyond the last prediction",
      sql("INSERT INTO watermarks VALUES ('adopted-traffic', '99')"),
      "I3", "beyond the last prediction",
      mended=True),
)  # fmt: skip

DATABASE = (
    C("database", "its header is damaged", flipped("hone.sqlite", 0), "I2", "cannot be opened"),
    C("database", "it is cut", truncated("hone.sqlite"), "I2", "database"),
    C("database", "it is empty", emptied("hone.sqlite"), "I2", "cannot be opened"),
    C("database", "it is gone", deleted("hone.sqlite"), "I2", "is missing"),
    C("database", "a page of a table is damaged", page("answers", 3), "I2", "database"),
    C("database", "a page of labels is damaged", page("labels", 0), "I2", "database"),
    C("database", "an entry of an index is damaged", page("ix_answers_sample_id", -4),
      "I2", "ix_answers_sample_id", mended=True),
    C("database", "the schema's number is another",
      sql("UPDATE alembic_version SET version_num = '0001'"), "I2", "cannot be opened"),
    C("schema", "a unique index is gone", sql("DROP INDEX uq_labels_in_force"),
      "I2", "index uq_labels_in_force is gone", mended=True),
    C("schema", "a plain index is gone", sql("DROP INDEX ix_answers_sample_id"),
      "I2", "index ix_answers_sample_id is gone", mended=True),
    C("schema", "a trigger is gone", sql("DROP TRIGGER count_labels_insert"),
      "I2", "trigger count_labels_insert is gone", mended=True),
    C("schema", "a unique index is of other rows",
      schema("uq_answers_in_force", "IS NULL", "IS NOT NULL"), "I2", "uq_answers_in_force",
      mended=True),
    C("schema", "a table is gone", sql("DROP TABLE refusals"), "I2", "table refusals is gone"),
)  # fmt: skip


def of_copies(store: str, folder: str) -> tuple[Corruption, ...]:
    """The corruptions of each kind of object in the DVC cache or on the remote."""
    promise = "I5" if folder == CACHE else "I4"
    objects = {"table": "data/labels.parquet.dvc", "listing": "data/shards.dvc", "shard": ""}
    ways = {"deleted": deleted, "cut": truncated, "with another bit": flipped, "empty": emptied}
    return tuple(
        C(store, f"the {kind} is {way}", of_object(folder, note, damage), promise,
          "is damaged" if folder == CACHE and way != "deleted" else "missing", mended=True)
        for kind, note in objects.items()
        for way, damage in ways.items()
    )  # fmt: skip


def of_object(folder: str, note: str, damage: Callable[[str], Damage]) -> Damage:
    """The damage to the object of a note of DVC; of none: to the shard's."""

    def find(root: Path) -> None:
        named = [(root / one).read_text().split("md5: ")[1].split()[0] for one in NOTES]
        wanted = [name for name, one in zip(named, NOTES, strict=True) if one == note]
        for path in sorted((root / folder).glob("??/*")):
            name = path.parent.name + path.name
            if name in wanted if note else name not in named:
                damage(str(path.relative_to(root)))(root)

    return find


NOTES = ("data/labels.parquet.dvc", "data/shards.dvc")
STORES = (
    *of_copies("DVC cache", CACHE),
    C("DVC cache", "a file of nobody", added(f"{CACHE}/??", "0" * 30), "I5", "its MD5 is not its",
      mended=True),
    C("DVC cache", "it is gone", folder_gone(".dvc/cache"), "I5", "is missing", mended=True),
    *of_copies("remote", REMOTE),
    C("remote", "it is gone", folder_gone("remote"), "I4", "missing or damaged", mended=True),
    C("cache and remote", "the shard is gone from both", both(
        of_object(CACHE, "", deleted), of_object(REMOTE, "", deleted)),
      "I4", "missing or damaged", mended=True),
    C("cache and remote", "the table is gone from both", both(
        of_object(CACHE, NOTES[0], deleted), of_object(REMOTE, NOTES[0], deleted)),
      "I4", "missing or damaged", mended=True),
    C("cache and remote", "the table is gone from everywhere", both(
        of_object(CACHE, NOTES[0], deleted), of_object(REMOTE, NOTES[0], deleted), deleted(TABLE)),
      "I5", "is whole neither"),
    C("shards", "one is gone", deleted(SHARD), "I3", "is missing: 6 samples", mended=True),
    C("shards", "one has another bit", flipped(SHARD), "I3", "is damaged: 6", mended=True),
    C("shards", "one is cut", truncated(SHARD), "I3", "is damaged: 6 samples", mended=True),
    C("shards", "one is empty", emptied(SHARD), "I3", "is damaged: 6 samples", mended=True),
    C("shards", "one is another file", replaced(SHARD, "x"), "I3", "is damaged: 6", mended=True),
    C("shards", "a file of nobody", added("data/shards", "x.py"), "I10", "is no shard of a sample"),
    C("shards", "a shard of nobody", added("data/shards", "x.tar"),
      "I10", "is no shard of a sample"),
    C("table", "it is gone", deleted(TABLE), "I5", "is not the table of", mended=True),
    C("table", "it has another bit", flipped(TABLE), "I5", "is not the table of", mended=True),
    C("table", "it is cut", truncated(TABLE), "I5", "is not the table of", mended=True),
    C("table", "it is another file", replaced(TABLE, "x"), "I5", "is not the table", mended=True),
    C("DVC notes", "that of the table is gone", deleted(NOTES[0]), "I5", "is not that of",
      mended=True),
    C("DVC notes", "that of the shards is gone", deleted(NOTES[1]), "I5", "is not that of",
      mended=True),
    C("DVC notes", "that of the table is another", edited(NOTES[0], "md5: ", "md5: 0"),
      "I5", "is not that of", mended=True),
    C("DVC notes", "that of the shards is no YAML", replaced(NOTES[1], "{"),
      "I5", "is not that of", mended=True),
    C("DVC", "its configuration is gone", deleted(".dvc/config"), "I5", ".dvc/config is missing",
      mended=True),
    C("DVC", "its configuration cannot be read", replaced(".dvc/config", "[x"), "I4", "remote"),
    C("DVC", "the remote's place is another", edited(".dvc/config", "../remote", "../nowhere"),
      "I4", "missing or damaged", outcome="fills that place"),
    C("DVC", ".dvcignore is gone", deleted(".dvcignore"),
      "I5", ".dvcignore is missing", mended=True),
    C("settings", "hone.toml is gone", deleted("hone.toml"), "I2", "it has no hone.toml",
      mended=True),
    C("settings", "hone.toml is no TOML", replaced("hone.toml", "[["), "I2", "hone.toml"),
    C("settings", "a class is gone from hone.toml",
      edited("hone.toml", 'name = "cat"', 'name = "ox"'),
      "I10", "samples are labelled 'cat'"),
    C("settings", ".gitignore is gone", deleted(".gitignore"), "I5", ".gitignore is missing",
      mended=True),
    C("settings", "every user may enter", lambda root: root.chmod(0o755),
      "I14", "is open to every user", mended=True),
)  # fmt: skip

GIT = (
    C("git", "a tag is gone", in_git("tag", "--delete", "snapshot-0001"), "I4", "tag is missing",
      mended=True),
    C("git", "a tag is moved", lambda root: git(
        root, "tag", "--force", "snapshot-0001", git(root, "rev-list", "--max-parents=0", "HEAD")),
      "I5", "its git tag stands for", mended=True),
    C("git", "a tag of no snapshot", in_git("tag", "snapshot-0009"), "I4", "snapshot-0009 is no"),
    C("git", "HEAD is of no branch", replaced(".git/HEAD", "ref: refs/heads/other\n"),
      "I5", "git repository"),
    C("git", "HEAD cannot be read", replaced(".git/HEAD", "x"), "I5", "git"),
    C("git", "the branch is gone", deleted(".git/refs/heads/main"), "I5", "git repository"),
    C("git", "the branch names no commit", replaced(".git/refs/heads/main", "0" * 40 + "\n"),
      "I5", "git repository"),
    C("git", "the branch cannot be read", replaced(".git/refs/heads/main", "x"), "I5", "git"),
    C("git", "the index cannot be read", replaced(".git/index", "x"), "I5", "git repository",
      mended=True),
    C("git", "the index is gone", deleted(".git/index"), "I5", "the index", mended=True),
    C("git", "objects have another bit", flipped(".git/objects/??/*", 20), "I5", "git"),
    C("git", "objects are gone", deleted(".git/objects/??/*"), "I5", "git"),
    C("git", "its configuration cannot be read", replaced(".git/config", "[x"), "I5", "git"),
    C("git", "the repository is gone", folder_gone(".git"), "I5", "git"),
)  # fmt: skip

MODELS = (
    C("model", "the weights have another bit", flipped(f"{MODEL}/weights.safetensors"),
      "I6", "weights.safetensors is damaged"),
    C("model", "the weights are cut", truncated(f"{MODEL}/weights.safetensors"),
      "I6", "weights.safetensors is damaged"),
    C("model", "the weights are gone", deleted(f"{MODEL}/weights.safetensors"),
      "I6", "weights.safetensors is missing"),
    C("model", "the card is another", edited(f"{MODEL}/card.json", "0.5", "0.9"),
      "I6", "card.json is damaged"),
    C("model", "the card is gone", deleted(f"{MODEL}/card.json"), "I6", "card.json is missing"),
    C("model", "the reference has another bit", flipped(f"{MODEL}/reference.npz"),
      "I6", "reference.npz is damaged"),
    C("model", "the reference is gone", deleted(f"{MODEL}/reference.npz"),
      "I6", "reference.npz is missing"),
    C("model", "the manifest has another bit", flipped(f"{MODEL}/manifest.json", 20),
      "I6", "manifest.json"),
    C("model", "the manifest is gone", deleted(f"{MODEL}/manifest.json"),
      "I6", "manifest.json is missing"),
    C("model", "model.yaml is gone", deleted(f"{MODEL}/model.yaml"), "I9", "model.yaml is not that",
      mended=True),
    C("model", "model.yaml is another", edited(f"{MODEL}/model.yaml", "margin", "random"),
      "I9", "model.yaml is not that", mended=True),
    C("model", "model.yaml cannot be read", replaced(f"{MODEL}/model.yaml", "{"),
      "I9", "model.yaml is not that", mended=True),
    C("model", "code lies beside it", added(MODEL, "hook.py"), "I14", "hook.py is none of"),
    C("model", "a pickle lies beside it", added(MODEL, "model.pkl"), "I14", "model.pkl is none of"),
    C("model", "its folder is gone", folder_gone(MODEL), "I6", "manifest.json is missing"),
    C("model", "a folder of nobody", lambda root: (root / "bento/models/hone/0009-x").mkdir(),
      "I9", "hone:0009-x is in the store"),
    C("bento", "its code is another", edited(f"{BENTO}/src/models/service.py", "cat", "dog"),
      "I14", "service.py is not as it was built", mended=True),
    C("bento", "a file of it is gone", deleted(f"{BENTO}/src/models/service.py"),
      "I14", "service.py is not as it was built", mended=True),
    C("bento", "it has one more file", added(f"{BENTO}/src", "hook.py"),
      "I14", "hook.py is not as it was built", mended=True),
    C("bento", "bento.yaml is another", replaced(f"{BENTO}/bento.yaml", "x"),
      "I14", "bento.yaml is not as it was built", mended=True),
    C("bento", "bento.yaml is gone", deleted(f"{BENTO}/bento.yaml"),
      "I14", "bento.yaml is not as it was built", mended=True),
    C("bento", "the list of its files cannot be read", replaced(f"{BENTO}/hone-contents.json", "{"),
      "I14", "cannot be read", mended=True),
    C("bento", "it is gone", folder_gone(BENTO), "I14", "is gone", mended=True),
    C("scores", "probabilities have another bit", flipped(f"{SCORES}/probs"),
      "I10", "block 1 is not what was written", mended=True),
    C("scores", "embeddings have another bit", flipped(f"{SCORES}/embeddings", 0),
      "I10", "block 0 is not what was written", mended=True),
    C("scores", "sample ids have another bit", flipped(f"{SCORES}/ids"),
      "I10", "block 1 is not what was written", mended=True),
    C("scores", "the record of blocks has another bit", flipped(f"{SCORES}/blocks", 0),
      "I10", "blocks is not what was written", mended=True),
    C("scores", "probabilities are cut", truncated(f"{SCORES}/probs"), "I10", "probs is shorter",
      mended=True),
    C("scores", "sample ids are gone", deleted(f"{SCORES}/ids"), "I10", "ids is not there",
      mended=True),
    C("scores", "the record of blocks is gone", deleted(f"{SCORES}/blocks"),
      "I10", "blocks is not there", mended=True),
    C("scores", "their shape cannot be read", replaced(f"{SCORES}/shape.json", "{"),
      "I10", "shape.json cannot be read", mended=True),
    C("thumbnails", "their list cannot be read", replaced(f"{THUMBNAILS}/parts.json", "{"),
      "I11", "parts.json cannot be read", mended=True),
    C("thumbnails", "one has another bit", flipped(f"{THUMBNAILS}/*.rows.npy", 300),
      "I11", "other thumbnails than the samples", mended=True),
    C("thumbnails", "a hash has another bit", flipped(f"{THUMBNAILS}/*.rows.npy"),
      "I11", "its hashes are not those", mended=True),
    C("thumbnails", "a key has another bit", flipped(f"{THUMBNAILS}/*.keys.npy"),
      "I11", "its keys are not in order", mended=True),
    C("thumbnails", "an order is another", flipped(f"{THUMBNAILS}/*.orders.npy", -8),
      "I11", "thumbnails", mended=True),
    C("thumbnails", "a file is gone", deleted(f"{THUMBNAILS}/*.keys.npy"),
      "I11", "is missing or damaged", mended=True),
    C("thumbnails", "a file is cut", truncated(f"{THUMBNAILS}/*.rows.npy"),
      "I11", "is missing or damaged", mended=True),
)  # fmt: skip

UNMENDED = {  # the journal has no bytes, only their sum
    "samples: a thumbnail is another",
    "samples: one is gone",
}
RESTORED = tuple(replace(one, mended=one.title not in UNMENDED) for one in ROWS)  # by the journal
DUELS = tuple(
    replace(one, mended=True, prepare=ended_duel) for one in (
    C("duels", "a value is another", sql("UPDATE duel_samples SET value = 0"),
      "I11", "counts 0, its answer makes it 1"),
    C("duels", "an answer is another", sql("UPDATE duel_samples SET answer = 'dog'"),
      "I11", "does not follow from duel-0001"),
    C("duels", "an output is another",
      sql("UPDATE duel_samples SET champion_output = challenger_output"),
      "I11", "counts 1, its answer makes it 0"),
    C("duels", "a counted sample is not counted",
      sql("UPDATE duel_samples SET counted_at = NULL"), "I11", "its answer makes it None"),
    C("duels", "its samples are gone", sql("DELETE FROM duel_samples"),
      "I11", "counts.wins: recorded is 1, computed 0"),
    C("duels", "a plan is another",
      sql("UPDATE duels SET plan = replace(plan, '0.02', '0.5')"),
      "I11", "does not follow from duel-0001"),
    C("duels", "an outcome is another", sql("UPDATE duels SET outcome = 'PROMOTE'"),
      "I11", "the duel has PROMOTE"),
    C("duels", "a champion is none", sql("UPDATE duels SET champion = 'hone:0009-x'"),
      "I9", "which is no model"),
    C("duels", "a sample is none", sql("UPDATE duel_samples SET sample_id = 'nobody'"),
      "I2", "duel_samples.sample_id nobody"),
    C("duels", "one is gone", sql("DELETE FROM duels"),
      "I9", "duel_samples.duel_id duel-0001 is not in duels"),
)
)  # fmt: skip

CORRUPTIONS = (*RESTORED, *DUELS, *PREDICTIONS, *BOOKKEEPING, *DATABASE, *STORES, *GIT, *MODELS)


def table_of_corruptions() -> str:
    """The table as docs/corruptions.md shows it."""
    lines = [
        "| of what | corruption | promise | reported as | `--repair` |",
        "|---|---|---|---|---|",
    ]
    for one in CORRUPTIONS:
        outcome = one.outcome or ("mends it" if one.mended else "leaves it as it is")
        cells = (one.store, one.name, one.promise, f"`{one.finding}`", outcome)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


INTRODUCTION = """# Corruptions, and what `hone fsck` does about each

`tests/tasks/operate/test_corruptions.py` makes each of these on a copy of a small workspace in
which everything happened once, and compares what `hone fsck` reports. Where `--repair` mends it,
the workspace is afterwards what it was before, and `hone fsck` finds nothing. Where no second copy
can mend it, or only a person can say what is right, `--repair` leaves it as it is, byte by byte,
and `hone fsck` goes on naming it with the remedy.
[Promises](promises.md) explains the numbers.

"""

if __name__ == "__main__":
    page_of_docs = Path(__file__).parents[3] / "docs" / "corruptions.md"
    page_of_docs.write_text(INTRODUCTION + table_of_corruptions(), encoding="utf-8")
