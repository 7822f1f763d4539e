"""A workspace in which everything has happened once: labels, a snapshot, a release, traffic."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine, select

from core import journal
from core.database import now, writing
from core.intents import begin_intent, commit_intent
from core.locks import only_writer
from core.shards import pack
from core.workspace import Workspace, init_workspace
from labeling.audit.membership import draw_standing_audit, set_key
from labeling.audit.numbers import AuditPolicy
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ingest.intake import INDEX, index_folder
from labeling.ingest.near_duplicates import ThumbnailIndex
from labeling.ledger.answers import ANSWER_COLUMNS, record_answers
from labeling.ledger.gold import add_gold
from labeling.ledger.rounds import SEND
from labeling.ledger.tables import assignments, audit, rounds, samples
from labeling.ledger.watermarks import save_watermark
from labeling.snapshots.publish import cut_snapshot
from models.registry.bento import write_contents
from models.registry.halts import HaltPolicy, add_halt
from models.registry.model_store import NAME
from models.scoring.cache import open_cache
from models.serving.feedback_records import Feedback
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.incidents import close_incident, next_incident, open_incident
from models.watching.outcomes import ClassNames, record_outcomes
from models.watching.signals import Action, Family, Shift, Signal
from tests.labeling.databases import make_engine
from tests.models.halting import resume_service
from tests.models.saved_models import CLASSES, put_in_service, save
from tests.models.serving.test_prediction_store import served

SAMPLES = ("a", "b", "c", "d")  # labelled and trained on; c and d are near-duplicates
AUDITED, GOLD = "e", "f"
SIGNAL = Signal(
    name="ks-probabilities", family=Family.OUTPUTS, outcome=Shift.NONE, value=0.1, threshold=0.05,
    evidence=0.2, accumulated=0.2, p_value=0.5, rows=2, groups=2, meaning="nothing moved",
)  # fmt: skip
KEY = b"key 36"  # by which "e" alone is in the standing audit, in the gate's part


def make_sound_workspace(root: Path) -> Workspace:
    """A workspace in which every promise holds, and each has something that could break it."""
    workspace = init_workspace(root, list(CLASSES), image_size=16)
    names = [*SAMPLES, AUDITED, GOLD]
    engine = make_engine(workspace.root, names, {"d": "c"})
    _store_images(engine, workspace, names)
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        row = {"round_id": "round-0001", "number": 1, "strategy": "margin", "seed": 0}
        row |= {"config": {}, "why": "", "chosen_at": now(), "sent_at": now()}
        journal.insert(connection, rounds, [row])
        set_key(connection, KEY)
        assert draw_standing_audit(connection, AuditPolicy()) == 1
        for place, name in enumerate([*SAMPLES, AUDITED]):
            asked = {"round_id": "round-0001", "sample_id": name, "position": place}
            reason = "audit" if name == AUDITED else "margin"
            share = 0.2 if name == AUDITED else None
            asked |= {"reason": reason, "inclusion_probability": share, "sent_at": now()}
            journal.insert(connection, assignments, [asked])
        asked = {"sample_id": AUDITED, "round_id": "round-0001"}
        journal.update_rows(connection, audit, [asked])
        begin_intent(connection, token, kind=SEND, key="round-0001", payload={})
        commit_intent(connection, token, kind=SEND, key="round-0001")
    _label(engine)
    with only_writer(engine, "workspace-git") as token:
        assert cut_snapshot(engine, workspace, token) == "snapshot-0001"
    version = save(workspace, engine)
    put_in_service(engine, version)
    _serve(engine, workspace, version)
    _store_scores(workspace, version)
    _package(workspace, version)
    engine.dispose()
    return workspace


def _store_images(engine: Engine, workspace: Workspace, names: list[str]) -> None:
    shard = pack([(name, name.encode()) for name in names])
    shard.write(workspace.shards)
    index = ThumbnailIndex()
    with writing(engine) as connection:
        for name, place in zip(names, shard.places, strict=True):
            row = {"shard": place.shard, "offset": place.offset, "length": place.length}
            row |= {"sample_id": name, "stored_sha256": place.sha256}
            journal.update_rows(connection, samples, [row])
        rows = connection.execute(select(*samples.c["sample_id", "thumbnail"])).tuples().all()
        save_watermark(connection, INDEX, shard.name)
    index.remember(*zip(*rows, strict=True))
    index.save(index_folder(workspace), shard.name)


def _store_scores(workspace: Workspace, version: str) -> None:
    names = [hashlib.sha256(name.encode()).hexdigest() for name in (*SAMPLES, AUDITED)]
    folder = workspace.scores / version.replace(":", "-")
    with open_cache(folder, outputs=len(CLASSES), width=4, model=version) as cache:
        for part in (names[:3], names[3:]):
            rows = np.ones((len(part), len(CLASSES)), np.float32) / len(CLASSES)
            cache.append(part, rows, np.ones((len(part), 4), np.float32))


def _package(workspace: Workspace, version: str) -> None:
    """A bento as `bentoml build` leaves it, as far as its files matter here."""
    number = version.partition(":")[2]
    bento = workspace.bento_home / "bentos" / NAME / number
    (bento / "src" / "models").mkdir(parents=True)
    (bento / "bento.yaml").write_text(f"name: {NAME}\nversion: {number}\n")
    (bento / "src" / "models" / "service.py").write_text("ANSWER = 'cat'\n")
    write_contents(bento)
    (bento.parent / "latest").write_text(number)


def _label(engine: Engine) -> None:
    rows = [
        ["here", f"{name}:ann", name, "ann", "answer", "cat", 1.0, "1", "round-0001"]
        for name in [*SAMPLES, AUDITED]
    ]
    found = pd.DataFrame(rows, columns=ANSWER_COLUMNS)
    read = set(found["sample_id"])
    with only_writer(engine, "answers") as token:
        record_answers(engine, token, found, source="here", read=read, classes=CLASSES)
        settle_labels(engine, token, SettlePolicy(answers_needed=1), CLASSES)
        add_gold(engine, token, pd.Series({GOLD: "dog"}), source="ann")


def _serve(engine: Engine, workspace: Workspace, version: str) -> None:
    writer = SegmentWriter(workspace.traffic)
    for number, image in enumerate([b"image 0", b"image 1"]):
        writer.append([(served(number, image, version), image)])
    writer.close()
    drain(engine, workspace.traffic)
    _give_feedback(engine)
    with writing(engine) as connection:
        incident = next_incident(connection)
        made = Evaluation(
            version, 1, 2, Action.NONE, "note", "no drift", incident_id=incident, signals=[SIGNAL]
        )
        decision = record_evaluation(connection, made)
        open_incident(connection, decision, model=version, kind=None, step="note")
        close_incident(connection, incident, decision, "it was calm")
        add_halt(connection, policy=HaltPolicy.REFUSE, who="hone", why="x", decision_id=decision)
    resume_service(engine, who="ann", why="it is repaired")


def _give_feedback(engine: Engine) -> None:
    """A truth about a prediction, its correction, and one about a prediction that is not known."""
    names = ClassNames(CLASSES)
    given = [
        Feedback(f"outcome-{number}", prediction, truth, "ann", "shop", "confirmed", None, now())
        for number, (prediction, truth) in enumerate(
            [("prediction-0", "dog"), ("prediction-0", "eel"), ("7" * 32, "cat")]
        )
    ]
    with writing(engine) as connection:
        assert record_outcomes(connection, given, names).waiting == 1
