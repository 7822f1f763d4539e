"""Each check of `hone fsck` has breaks: each damages one promise and sees it reported.

A break without its check goes unreported, so no check can be removed unnoticed.
"""

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from PIL import Image

from core import journal
from core.database import now, writing
from core.findings import Finding
from core.git import git
from core.locks import only_writer
from core.policy_log import policy_changes
from labeling.audit.numbers import AuditPolicy
from labeling.ingest.intake import adopt
from labeling.snapshots.publish import cut_snapshot
from labeling.snapshots.table import SnapshotConfig
from models.registry.releases import champion, release
from models.serving import shadow_records
from models.serving.callbacks import callback_request
from models.serving.erasures import AGE, carry_out, decide
from models.serving.feedback_records import Feedback, record_of
from models.serving.prediction_store import segments
from models.serving.retention import RetentionPolicy
from models.serving.segments import SegmentWriter
from models.serving.shadow_records import ShadowRecord
from tasks.context import Context, open_context
from tasks.erasure import erase_named
from tasks.operate import fsck
from tests.models.serving.test_prediction_store import served
from tests.source_code import ROOT
from tests.tasks.operate.sound_duel import add_ended_duel
from tests.tasks.operate.sound_workspace import AUDITED, GOLD, make_sound_workspace


@dataclass(frozen=True)
class Break:
    """One way to break a promise, and what is reported then."""

    check: str
    promise: str
    damage: Callable[[Context], object]
    what: str


def sql(ctx: Context, *statements: str) -> None:
    """Change the database as no code of ours would: without its foreign keys."""
    with closing(sqlite3.connect(ctx.workspace.root / "hone.sqlite")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
        connection.commit()


def statements(*texts: str) -> Callable[[Context], None]:
    return lambda ctx: sql(ctx, *texts)


def only_file(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    path.chmod(0o644)
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def damage_a_served_image(ctx: Context) -> None:
    flip(only_file(ctx.workspace.traffic, "*.seg"), -1)


def lose_a_segment(ctx: Context) -> None:
    only_file(ctx.workspace.traffic, "*.seg").unlink()


def put_an_erased_image_back(ctx: Context) -> None:
    path = only_file(ctx.workspace.traffic, "*.seg")
    backup = path.read_bytes()
    policy = RetentionPolicy(days=1)
    with only_writer(ctx.engine, "retention") as token:
        with writing(ctx.engine) as connection:
            decide(connection, policy, who="ann", why=AGE, after=0, last=1)
        assert carry_out(ctx.engine, token, ctx.workspace.traffic) == 1
    path.write_bytes(backup)


def put_a_replaced_shard_back(ctx: Context) -> None:
    """The shard of an image that nobody answered, which was erased whole."""
    image = BytesIO()
    Image.new("RGB", (16, 16), "red").save(image, "PNG")
    audit = AuditPolicy(share=0.0001)
    assert adopt(ctx.engine, ctx.workspace, [("x", image.getvalue())], audit=audit).added == 1
    sample_id = hashlib.sha256(image.getvalue()).hexdigest()
    before = {path: path.read_bytes() for path in ctx.workspace.shards.iterdir()}
    assert erase_named(ctx, [sample_id], who="ann", why="she asked").samples == 1
    for path in before.keys() - set(ctx.workspace.shards.iterdir()):
        path.write_bytes(before[path])


def serve(ctx: Context, *numbers: int) -> Path:
    writer = SegmentWriter(ctx.workspace.traffic)
    writer.append([(served(number, b"image"), b"image") for number in numbers])
    writer.close()
    return max(ctx.workspace.traffic.glob("*.seg"))


def damage_a_record_that_was_not_drained(ctx: Context) -> None:
    flip(serve(ctx, 8, 9), 30)


def leave_traffic_undrained(ctx: Context) -> None:
    serve(ctx, 8, 9)


def give_feedback(ctx: Context, at: str) -> Path:
    writer = SegmentWriter(ctx.workspace.traffic / "feedback")
    for number in range(2):
        one = Feedback(str(number), f"{number:032x}", "cat", "ann", "shop", "weak", None, at)
        writer.append_parts([(record_of(one), b"")])
    writer.close()
    return max((ctx.workspace.traffic / "feedback").glob("*.seg"))


def damage_feedback(ctx: Context) -> None:
    flip(give_feedback(ctx, now()), 30)


def leave_feedback_undrained(ctx: Context) -> None:
    give_feedback(ctx, "2026-01-01T00:00:00.000000+00:00")


def ask_for_labels(ctx: Context, at: str) -> Path:
    writer = SegmentWriter(ctx.workspace.traffic / "callbacks")
    answer = {"prediction_id": "7" * 32, "sample_id": "8" * 64}
    made = replace(callback_request("https://hooks.example.com/", answer), asked_at=at)
    writer.append_parts([(json.dumps(vars(made)).encode(), b"")] * 2)
    writer.close()
    return max((ctx.workspace.traffic / "callbacks").glob("*.seg"))


def damage_a_callback(ctx: Context) -> None:
    flip(ask_for_labels(ctx, now()), 60)


def leave_callbacks_undrained(ctx: Context) -> None:
    ask_for_labels(ctx, "2026-01-01T00:00:00.000000+00:00")


def shadow(ctx: Context, at: str) -> Path:
    writer = SegmentWriter(ctx.workspace.traffic / "shadow")
    for number in range(2):
        one = ShadowRecord(f"{number:032x}", 1, "hone:a", "hone:b", at)
        writer.append_parts([(shadow_records.record_of(one), b"")])
    writer.close()
    return max((ctx.workspace.traffic / "shadow").glob("*.seg"))


def damage_a_trial(ctx: Context) -> None:
    flip(shadow(ctx, now()), 60)


def leave_a_trial_undrained(ctx: Context) -> None:
    shadow(ctx, "2026-01-01T00:00:00.000000+00:00")


def forget_a_drained_trial(ctx: Context) -> None:
    path = shadow(ctx, now())
    with writing(ctx.engine) as connection:
        row = {"name": f"shadow/{path.name}", "drained_to": path.stat().st_size}
        journal.insert(connection, segments, [row])


def forget_drained_feedback(ctx: Context) -> None:
    path = give_feedback(ctx, now())
    with writing(ctx.engine) as connection:
        row = {"name": f"feedback/{path.name}", "drained_to": path.stat().st_size}
        journal.insert(connection, segments, [row])


drop_a_drained_prediction = statements(
    "DELETE FROM predictions WHERE seq = (SELECT max(seq) FROM predictions)"
)
drain_beyond_the_end = statements("UPDATE segments SET drained_to = drained_to + 5")


def damage_the_shard(ctx: Context) -> None:
    flip(only_file(ctx.workspace.shards, "*.tar"), 600)


def lose_the_shard(ctx: Context) -> None:
    only_file(ctx.workspace.shards, "*.tar").unlink()


def lose_what_the_remote_has(ctx: Context) -> None:
    for path in (ctx.workspace.root / "remote").rglob("*"):
        if path.is_file():
            path.unlink()


def damage_what_the_remote_has(ctx: Context) -> None:
    for path in (ctx.workspace.root / "remote").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            flip(path, 0)


def tag(name: str) -> Callable[[Context], object]:
    return lambda ctx: git(ctx.workspace.root, "tag", "--force", name)


def delete_the_tag(ctx: Context) -> None:
    git(ctx.workspace.root, "tag", "--delete", "snapshot-0001")


def move_the_tag(ctx: Context) -> None:
    root = ctx.workspace.root
    git(root, "tag", "--force", "snapshot-0001", git(root, "rev-list", "--max-parents=0", "HEAD"))


def release_without_promotion(who: str, why: str, outcome: str) -> Callable[[Context], None]:
    return statements(
        "INSERT INTO verdicts SELECT 'verdict-2', challenger, champion, snapshot, "
        f"rows_fingerprint, '{outcome}', reasons, metrics, decided_at FROM verdicts",
        "INSERT INTO releases (number, champion, verdict_id, who, why, released_at) "
        f"SELECT 2, champion, 'verdict-2', '{who}', '{why}', released_at FROM releases",
    )


def one_more_release(champion: str, who: str, action: str) -> Callable[[Context], None]:
    return statements(
        "INSERT INTO releases (number, champion, verdict_id, who, why, released_at, action) "
        f"SELECT 2, {champion}, verdict_id, {who}, 'better', released_at, {action} FROM releases",
    )


def release_on_the_verdict_of_another(ctx: Context) -> None:
    sql(ctx, "UPDATE verdicts SET challenger = 'hone:0000-other'")


def damage_the_weights(ctx: Context) -> None:
    flip(only_file(ctx.workspace.bento_home, "weights.safetensors"), -1)


def lose_the_weights(ctx: Context) -> None:
    only_file(ctx.workspace.bento_home, "weights.safetensors").unlink()


def leave_a_model_without_a_row(ctx: Context) -> None:
    (ctx.workspace.bento_home / "models" / "hone" / "0009-stray").mkdir()


def put_code_beside_the_weights(ctx: Context) -> None:
    only_file(ctx.workspace.bento_home, "weights.safetensors").with_name("hook.py").touch()


def put_a_file_beside_the_shards(ctx: Context) -> None:
    (ctx.workspace.shards / "hook.py").touch()


def flip_in(pattern: str, place: int = -1) -> Callable[[Context], None]:
    """One bit of the first of these files is another."""

    def damage(ctx: Context) -> None:
        path = min(path for path in ctx.workspace.root.glob(pattern) if path.is_file())
        path.chmod(0o644)
        flip(path, place)

    return damage


def metrics(**values: object) -> Callable[[Context], None]:
    return statements(f"UPDATE verdicts SET metrics = '{json.dumps(values)}'")


def train_on_a_near_duplicate_of_an_audit_sample(ctx: Context) -> None:
    """Cut a snapshot by a splitting that forgets groups."""

    def split(table: pd.DataFrame, config: SnapshotConfig) -> pd.Series:
        audited = table["audit"].astype(bool)
        parts = pd.Series("train", index=table.index, dtype=object)
        return parts.mask(audited, "test").mask(table["sample_id"] == GOLD, "held")

    sql(ctx, f"UPDATE samples SET group_id = '{AUDITED}' WHERE sample_id = 'a'")
    splitting = patch("labeling.snapshots.table.split", split)
    with only_writer(ctx.engine, "workspace-git") as token, splitting:
        assert cut_snapshot(ctx.engine, ctx.workspace, token)


def unknown_sample(table: str) -> Callable[[Context], None]:
    return statements(f"UPDATE {table} SET sample_id = 'nobody' WHERE rowid = 1")


def damage_an_index(ctx: Context) -> None:
    """A bit of an entry of an index is another."""
    ctx.engine.dispose()
    path = ctx.workspace.root / "hone.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        named = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_answers_sample_id'"
        (page,) = connection.execute(named).fetchone()
    flip(path, page * size - 2)


SECOND_LABEL = (
    "DROP INDEX uq_labels_in_force",
    "INSERT INTO labels (sample_id, round_id, label, trust, annotators, method, "
    "settled_at) SELECT sample_id, round_id, label, trust, annotators, method, "
    "settled_at FROM labels WHERE seq = 1",
)
SECOND_ROUND = (
    "INSERT INTO rounds (round_id, number, strategy, seed, config, why, chosen_at) "
    "VALUES ('round-0002', 2, 'margin', 0, '{}', '', '2026')"
)
SECOND_ASSIGNMENT = (
    "DROP INDEX uq_assignments_open",
    "UPDATE assignments SET closed_at = NULL WHERE sample_id = 'a'",
    "INSERT INTO assignments (round_id, sample_id, position, reason) "
    "VALUES ('round-0009', 'a', 0, 'margin')",
)


def alert(seq: int) -> str:
    """The statement that raises an alert of this number."""
    return (
        "INSERT INTO alerts (alert_id, seq, about, kind, title, body, exemplars, raised_at) "
        f"VALUES ('alert-1', {seq}, 'a', 'drift', 't', 'b', '[]', '2026')"
    )


def message(delivered_at: str) -> str:
    """The statement that makes a message about it."""
    return (
        "INSERT INTO alert_messages (message_id, channel, alerts, up_to, made_at, attempts, "
        "delivered_at) "
        f"VALUES ('message-1', 'web', '[\"alert-1\"]', 1, '2026', 0, {delivered_at})"
    )


def of_a_duel(statement: str) -> Callable[[Context], None]:
    """Let a duel end, then change what is recorded of it."""

    def damage(ctx: Context) -> None:
        add_ended_duel(ctx.engine)
        sql(ctx, statement)

    return damage


BREAKS = (
    Break("served_images_are_whole", "I1", damage_a_served_image, "was served"),
    Break("served_images_are_whole", "I1", lose_a_segment, "No such file"),
    Break("erased_images_are_gone", "I17", put_an_erased_image_back, "was erased and is in"),
    Break("erased_samples_are_gone", "I17", put_a_replaced_shard_back, "has erased images"),
    Break("served_records_are_stored", "I1", damage_a_record_that_was_not_drained, "from byte 0"),
    Break("served_records_are_stored", "I1", leave_traffic_undrained, "to be drained: 2"),
    Break("served_records_are_stored", "I1", drop_a_drained_prediction, "are not stored: 1"),
    Break("served_records_are_stored", "I1", drain_beyond_the_end, "5 bytes behind its end"),
    Break("feedback_is_stored", "I1", damage_feedback, "truths that cannot be read"),
    Break("feedback_is_stored", "I1", leave_feedback_undrained, "wait to be drained: 2"),
    Break("feedback_is_stored", "I1", forget_drained_feedback, "are not stored: 2"),
    Break("callbacks_are_stored", "I1", damage_a_callback, "are damaged"),
    Break("callbacks_are_stored", "I1", leave_callbacks_undrained, "wait to be drained, the"),
    Break("trials_are_stored", "I11", damage_a_trial, "is damaged from byte 0"),
    Break("trials_are_stored", "I11", leave_a_trial_undrained, "wait to be drained: 2"),
    Break("trials_are_stored", "I11", forget_a_drained_trial, "are not stored: 2"),
    Break("truths_follow_from_outcomes", "I9",
          statements("UPDATE truths SET truth = 'cat'"), "truth is 'cat', which"),
    Break("truths_follow_from_outcomes", "I9",
          statements("DELETE FROM truths"), "has an outcome and no truth"),
    Break("truths_follow_from_outcomes", "I9",
          statements("DELETE FROM waiting_outcomes"), "is not listed as waiting"),
    Break("truths_follow_from_outcomes", "I9",
          statements("UPDATE truth_counts SET rows = 9"), "there are 1"),
    Break("truths_follow_from_outcomes", "I9",
          statements("INSERT INTO truths SELECT 'prediction-1', 9, model, sample_id, hour, slice, "
                     "label, truth, standing FROM truths"), "rests on nothing"),
    Break("a_sample_has_one_open_row", "I2", statements(*SECOND_LABEL), "2 open rows in labels"),
    Break("a_sample_has_one_open_row", "I2", statements(*SECOND_ASSIGNMENT), "in assignments"),
    Break("a_round_is_sent_or_pending", "I2", statements(SECOND_ROUND), "round-0002 was not sent"),
    Break("counts_are_right", "I2",
          statements("UPDATE row_counts SET value = 9 WHERE name = 'sample:labelled:ingest'"),
          "row_counts has 9 of 'sample:labelled:ingest', the ledger has 6"),
    Break("counts_are_right", "I2",
          statements("UPDATE sample_states SET group_id = 'x' WHERE sample_id = 'a'"),
          "sample a is"),
    Break("samples_are_in_their_shards", "I3", lose_the_shard, "is missing: 6 samples"),
    Break("samples_are_in_their_shards", "I3", damage_the_shard, "is damaged: 6 samples"),
    Break("samples_are_in_their_shards", "I3",
          statements("UPDATE samples SET stored_sha256 = '0' WHERE sample_id = 'a'"), "sample a"),
    Break("snapshots_are_on_the_remote", "I4", lose_what_the_remote_has, "remote"),
    Break("snapshots_are_on_the_remote", "I4", damage_what_the_remote_has, "remote"),
    Break("snapshots_are_on_the_remote", "I4", delete_the_tag, "its git tag is missing"),
    Break("tags_are_snapshots", "I4", tag("snapshot-0009"), "snapshot-0009 is no snapshot"),
    Break("snapshots_are_as_frozen", "I5", move_the_tag, "its git tag stands for"),
    Break("snapshots_are_as_frozen", "I5",
          statements("UPDATE snapshots SET table_sha256 = '0'"), "0 was frozen"),
    Break("releases_are_justified", "I6",
          release_without_promotion("hone retrain", "better", "HOLD"), "has verdict HOLD"),
    Break("releases_are_justified", "I6",
          release_without_promotion("ann", " ", "HOLD"), "has verdict HOLD"),
    Break("releases_are_justified", "I6", release_on_the_verdict_of_another, "of hone:0000-other"),
    Break("models_are_whole", "I6", damage_the_weights, "is damaged"),
    Break("models_are_whole", "I6", lose_the_weights, "weights.safetensors"),
    Break("tokens_only_rise", "I8", statements("UPDATE locks SET token = 0"), "above 0"),
    Break("predictions_lead_to_models", "I9",
          statements("UPDATE predictions SET model = 'hone:0009-a'"), "hone:0009-a"),
    Break("models_lead_to_snapshots", "I9",
          statements("UPDATE models SET snapshot = 'snapshot-0009'"), "snapshot-0009"),
    Break("stored_models_are_recorded", "I9", leave_a_model_without_a_row, "hone:0009-stray"),
    *(Break("rows_lead_to_rows", "I9", unknown_sample(table), f"{table}.sample_id nobody")
      for table in ("answers", "audit", "gold", "labels")),
    Break("rounds_are_complete", "I2", unknown_sample("assignments"),
          "sample_id nobody is no sample and was not erased"),
    Break("rows_lead_to_rows", "I9", statements("DELETE FROM answers WHERE seq = 1"),
          "label_answers.answer_seq 1 is not in answers"),
    Break("answers_are_as_given", "I9",
          statements("UPDATE answers SET value = 'dog' WHERE seq = 1"), "another was given"),
    Break("labels_rest_on_answers", "I9",
          statements("UPDATE labels SET label = 'dog' WHERE sample_id = 'a'"),
          "its answers are cat"),
    Break("labels_rest_on_answers", "I9",
          statements("UPDATE labels SET annotators = '[\"bob\"]' WHERE sample_id = 'a'"), "by bob"),
    Break("labels_rest_on_answers", "I9", statements("DELETE FROM label_answers"), "on no answer"),
    Break("labels_rest_on_answers", "I9",
          statements("DELETE FROM label_answers", "DELETE FROM labels"), "is not in labels"),
    Break("labels_rest_on_answers", "I9",
          statements(f"UPDATE labels SET label = 'cat' WHERE sample_id = '{GOLD}'"), "gold sample"),
    Break("shards_are_of_samples", "I10", put_a_file_beside_the_shards, "is no shard of a sample"),
    Break("labels_are_classes", "I10",
          statements("UPDATE labels SET label = 'cow' WHERE sample_id = 'a'"), "labelled 'cow'"),
    Break("the_database_is_whole", "I2", damage_an_index, "ix_answers_sample_id"),
    Break("tables_and_triggers_are_there", "I2",
          statements("DROP INDEX uq_labels_in_force"), "index uq_labels_in_force is gone"),
    Break("tables_and_triggers_are_there", "I2",
          statements("DROP TRIGGER count_labels_insert"), "trigger count_labels_insert is gone"),
    Break("rounds_are_complete", "I2",
          statements("DELETE FROM assignments WHERE sample_id = 'b'"), "has 4 assignments"),
    Break("rounds_are_complete", "I2",
          statements("UPDATE rounds SET number = 2"), "2 rounds were made, 1 are in rounds"),
    Break("watermarks_are_not_ahead", "I3",
          statements("INSERT INTO watermarks VALUES ('label-studio:1', '9999-01-01T00:00:00Z')"),
          "in the future"),
    Break("adopted_traffic_was_served", "I3",
          statements("INSERT INTO watermarks VALUES ('adopted-traffic', '3')"), "beyond the last"),
    Break("the_cache_is_whole", "I5", flip_in(".dvc/cache/files/md5/*/*"), "its MD5"),
    Break("the_table_is_the_newest_snapshot", "I5", flip_in("data/labels.parquet"), "is not the"),
    Break("the_repository_is_whole", "I5", flip_in(".git/objects/??/*", 20), "git repository"),
    Break("releases_are_justified", "I6",
          one_more_release("'hone:0000-other'", "'ann'", "'shadow'"), "and it is another"),
    Break("releases_are_justified", "I6",
          one_more_release("champion", "'hone'", "'rollback'"), "is a rollback to no release"),
    Break("releases_are_justified", "I6",
          one_more_release("champion", "'hone'", "'canary'"), "which no verdict promotes"),
    Break("releases_are_justified", "I6",
          one_more_release("champion", "'ann'", "'mirror'"), "cannot be read: 'mirror'"),
    Break("releases_are_complete", "I6",
          statements("UPDATE releases SET number = 2"), "2 releases"),
    Break("models_are_as_saved", "I9",
          statements("UPDATE models SET metrics = '{}'"), "metrics of"),
    Break("models_are_as_saved", "I9",
          flip_in("bento/models/hone/0*/model.yaml", 3), "is not that"),
    Break("predictions_are_as_served", "I1",
          statements("UPDATE predictions SET label = 'dog' WHERE seq = 1"), "label is dog"),
    Break("scores_are_whole", "I10", flip_in("scores/hone*/probs"), "block 1 is not"),
    Break("audit_samples_are_drawn", "I11",
          statements("UPDATE audit SET inclusion_probability = 0"), "probability 0.0"),
    Break("audit_samples_are_drawn", "I11", statements("DELETE FROM audit"), "is not in audit"),
    Break("near_duplicates_are_together", "I11",
          statements("UPDATE samples SET group_id = 'a' WHERE sample_id = 'b'"),
          "resembles no other"),
    Break("near_duplicates_are_together", "I11",
          statements("UPDATE samples SET group_id = 'd' WHERE sample_id = 'd'"), "and in others"),
    Break("the_index_of_thumbnails_is_whole", "I11",
          flip_in("scores/thumbnails/*.rows.npy"), "scores/thumbnails"),
    Break("decisions_are_of_their_windows", "I12",
          statements("UPDATE decisions SET last_seq = 1"), "another window"),
    Break("decisions_are_of_their_windows", "I12",
          statements("UPDATE decisions SET step = 'panic'"), "is at 'panic', which is no step"),
    Break("incidents_are_complete", "I12",
          statements("DELETE FROM incident_events WHERE what = 'closed'"), "no event 'closed'"),
    Break("incidents_are_complete", "I12",
          statements("UPDATE decisions SET incident_id = 'incident-0009'"), "of incident-0009"),
    Break("halts_have_reasons", "I12",
          statements("UPDATE halts SET decision_id = 'decision-9'"), "halt 1 rests on decision-9"),
    Break("halts_have_reasons", "I12",
          statements("UPDATE halts SET lifted_by = ''"), "halt 1 was lifted by nobody"),
    Break("bentos_are_as_built", "I14",
          flip_in("bento/bentos/hone/0*/src/models/service.py"), "is not as it was built"),
    Break("verdicts_rest_on_evidence", "I11",
          metrics(challenger_accuracy=0.9), "was changed after it was made"),
    Break("verdicts_rest_on_evidence", "I11", metrics(), "promotes on accuracy None"),
    Break("verdicts_rest_on_evidence", "I11", metrics(challenger_accuracy=1.5), "accuracy 1.5"),
    Break("verdicts_follow_from_duels", "I11", of_a_duel("UPDATE duel_samples SET value = -1"),
          "sample b of duel-0001 counts -1, its answer makes it 1"),
    Break("verdicts_follow_from_duels", "I11", of_a_duel("UPDATE duel_samples SET answer = 'dog'"),
          "does not follow from duel-0001: metrics.duel.populations.pool.counts"),
    Break("verdicts_follow_from_duels", "I11", of_a_duel("UPDATE duels SET outcome = 'PROMOTE'"),
          "the duel has PROMOTE, its verdict HOLD"),
    Break("verdicts_follow_from_duels", "I11", of_a_duel("UPDATE duels SET verdict_id = 'v'"),
          "duel-0001 has ended: there is no verdict 'v'"),
    Break("held_out_samples_are_not_trained_on", "I11",
          statements("UPDATE audit SET sample_id = 'b'"), "gold sample b"),
    Break("held_out_samples_are_not_trained_on", "I11",
          statements("UPDATE gold SET sample_id = 'b'"), "gold sample b"),
    Break("held_out_samples_are_not_trained_on", "I11",
          train_on_a_near_duplicate_of_an_audit_sample, "gold sample a"),
    Break("signals_are_three_valued", "I12",
          statements("UPDATE signals SET outcome = 'perhaps'"), "says 'perhaps'"),
    Break("signals_are_three_valued", "I12",
          statements("UPDATE signals SET outcome = 'cannot tell'"), "the decision is 'none'"),
    Break("alerts_reach_their_channels", "I13", statements(alert(2)),
          "2 alerts were raised, 1 are in alerts"),
    Break("alerts_reach_their_channels", "I13", statements(message("NULL")),
          "message-1 to web counts as sent up to alert 1, the newest in it is None"),
    Break("alerts_reach_their_channels", "I13", statements(alert(1), message("'2026'")),
          "was delivered after 0 attempts"),
    Break("models_hold_data_only", "I14", put_code_beside_the_weights, "hook.py"),
    Break("others_have_no_access", "I14",
          lambda ctx: ctx.workspace.root.chmod(0o755), "is open to every user"),
    Break("the_journal_is_whole", "I16", statements("DELETE FROM journal WHERE number = 2"),
          "journal entry 2 is gone"),
    Break("rows_are_as_journaled", "I16",
          statements("UPDATE answers SET value = 'dog' WHERE seq = 1"),
          'value is "dog", recorded was "cat"'),
)  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound workspace, to be copied."""
    return make_sound_workspace(tmp_path_factory.mktemp("template") / "work").root


@pytest.fixture
def ctx(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    shutil.copytree(template, tmp_path / "work", symlinks=True)
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "work"))
    opened = open_context()
    yield opened
    opened.engine.dispose()


def test_nothing_is_reported_of_a_duel_that_has_ended(ctx: Context) -> None:
    add_ended_duel(ctx.engine)
    assert fsck.check() == []


def test_nothing_is_reported_of_a_sound_workspace(ctx: Context) -> None:
    assert fsck.check() == []


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: f"{broken.check}-{broken.what}")
def test_a_broken_promise_is_reported_by_its_check_alone(
    broken: Break, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.damage(ctx)
    others = {name: one for name, one in fsck.CHECKS.items() if name != broken.check}
    monkeypatch.setattr(fsck, "CHECKS", {broken.check: fsck.CHECKS[broken.check]})
    reported = matching(broken)
    assert reported and all(finding.remedy for finding in reported)
    assert fsck.CHECKS[broken.check].promise == broken.promise
    monkeypatch.setattr(fsck, "CHECKS", others)
    assert matching(broken) == []


def matching(broken: Break) -> list[Finding]:
    """What is reported of the broken promise."""
    return [
        finding
        for finding in fsck.check()
        if finding.promise == broken.promise and broken.what in finding.what
    ]


def test_each_check_has_a_break() -> None:
    assert {broken.check for broken in BREAKS} == set(fsck.CHECKS)


def test_a_check_that_cannot_run_is_reported_and_hides_no_other(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Finding]:
        raise OSError("disk on fire")

    first = next(iter(fsck.CHECKS))
    monkeypatch.setitem(fsck.CHECKS, first, fsck.Check("I1", "", fail))
    lose_the_shard(ctx)
    failed, *others = fsck.check()
    assert failed.promise == "I13" and f"{first} (I1) failed: disk on fire" in failed.what
    assert {finding.promise for finding in others} == {"I3"}


def test_a_named_person_may_release_against_the_verdict(ctx: Context) -> None:
    version = champion(ctx.engine)
    assert version
    who, why = "ann", "the old one is slow"
    release(
        ctx.engine, version=version, verdict_id=None, expected=1, who=who, why=why, override=True
    )
    assert fsck.check() == []


def test_a_half_saved_model_breaks_no_promise(ctx: Context) -> None:
    leave_a_model_without_a_row(ctx)
    payload = json.dumps({"version": "hone:0009-stray", "manifest": "0"})
    sql(
        ctx,
        "INSERT INTO intents (kind, key, payload, token, intended_at) "
        f"VALUES ('save-model', 'hone:0009-stray@1', '{payload}', 1, '2026')",
    )
    assert fsck.check() == []


def test_the_page_of_promises_names_the_checks() -> None:
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (I\d+) \|.*\|([^|]*)\|$", page, re.MULTILINE)
    assert [promise for promise, _ in rows] == [f"I{number}" for number in range(1, 18)]
    named = {promise: re.findall(r"`(\w+)`", cell) for promise, cell in rows}
    checks: dict[str, list[str]] = {promise: [] for promise in named}
    for name, one in fsck.CHECKS.items():
        checks[one.promise].append(name)
    assert named == checks


def test_the_page_of_promises_names_the_locks_and_the_tables_of_the_journal() -> None:
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    sources = [
        path.read_text()
        for part in ("labeling", "models", "tasks", "flows")
        for path in (ROOT / part).rglob("*.py")
    ]
    taken = r'only_writer\([\w.]+, "([\w-]+)"|^LOCK = "([\w-]+)"'
    locks = {a or b for text in sources for a, b in re.findall(taken, text, re.MULTILINE)}
    assert len(locks) > 10
    section = page[page.index("## Locks") : page.index("## The journal")]
    assert locks == set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE))
    tables = policy_changes.metadata.tables.values()
    covered = {table.name for table in tables if table.info == journal.COVERED}
    sentence = page[page.index("Each change of a row") : page.index("is also an entry")]
    assert covered == set(re.findall(r"`(\w+)`", sentence))
