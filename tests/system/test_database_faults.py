"""PostgreSQL breaks off or restarts in the middle of each flow: the end is as if it had not."""

import csv
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, insert, text, update

import core.locks
from core import database
from core.checks import the_database_is_whole
from core.database import connect, upgrade, writing
from core.database_faults import DatabaseFault
from core.locks import LockBusy, LockLost, locks, only_writer
from core.workspace import Workspace
from flows.collect_labels import collect_labels
from flows.ingest_images import ingest_images
from flows.label_round import label_round
from flows.retrain import retrain
from flows.review_labels import review_labels
from flows.watch_traffic import watch_traffic
from labeling import simulation
from labeling.batches.select import SelectionConfig
from labeling.ledger.tables import watermarks
from labeling.snapshots.publish import SnapshotConfig
from models.judging.verdict import GatePolicy
from models.network.network import NetworkConfig
from models.registry import releases, versions
from models.serving.segments import SegmentWriter
from models.training.config import TrainConfig
from models.watching.signals import WatchPolicy
from tasks import direct_run
from tasks.context import open_context
from tasks.demo import servers
from tasks.exchange import import_labels
from tasks.operate import fsck
from tasks.operate.release import release_by_hand
from tests.models.saved_models import png
from tests.models.serving.test_prediction_store import served
from tests.system.restarted_postgres import MOMENTS, RestartedPostgres, interrupted, until_done
from tests.system.world import ledger, make_world

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]

TRAIN = TrainConfig(epochs=1, min_steps=4, batch_size=16, precision="fp32")
NETWORK = NetworkConfig("squeezenet1_1")


@pytest.fixture(scope="module")
def server() -> Iterator[RestartedPostgres]:
    if servers.postgres_programs() is None:
        pytest.skip("no PostgreSQL; `apt-get install postgresql` installs it")
    folder = Path(tempfile.mkdtemp(prefix="hone-postgres-"))
    folder.chmod(0o755)  # its own user must reach it
    server = RestartedPostgres(folder)
    server.start()
    server.make("template_hone")
    engine = connect(server.url("template_hone"))
    upgrade(engine)
    engine.dispose()
    yield server
    server.stop()
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Play:
    """A workspace, and each flow of the loop in it."""

    workspace: Workspace

    @property
    def flows(self) -> dict[str, Callable[[], Any]]:
        """The flows in the order of the loop."""
        return {
            "ingest": self.ingest, "label": self.label, "collect": self.collect,
            "retrain": self.retrain, "release": self.release, "watch": self.watch,
            "adopt": self.ingest, "import": self.import_, "review": self.review,
        }  # fmt: skip

    def ingest(self) -> None:
        ingest_images([str(self.workspace.root.parent / "images")], processes=1)

    def label(self) -> None:
        config = SelectionConfig(strategy="random", size=40, audit_share=0.5)
        label_round("round-0001", config, annotators="simulated")

    def collect(self) -> None:
        collect_labels("simulated", snapshot=SnapshotConfig(), every=1)

    def retrain(self) -> None:
        retrain("snapshot-0001", NETWORK, TRAIN, GatePolicy(min_rows=10))

    def watch(self) -> None:
        watch_traffic(WatchPolicy(window=20, min_rows=20))

    def release(self) -> None:
        [version] = versions.known_versions(open_context().engine)
        release_by_hand(version, who="ada", why="to see")

    def import_(self) -> None:
        images = self.workspace.root.parent / "images"
        import_labels(images.parent / "labels.csv", images=images)

    def review(self) -> None:
        review_labels(10, annotators="simulated")

    def prepare(self, flow: str) -> None:
        """Put down what the flow finds: traffic that was served, labels of somebody else."""
        if flow == "watch":
            self._serve()
        if flow == "import":
            self._write_labels()

    def _serve(self) -> None:
        version = releases.champion(open_context().engine)
        assert version
        writer = SegmentWriter(self.workspace.traffic)
        for number in range(20):
            image = png(number)
            record = served(number, image)
            record = replace(record, model=version, label="0", probabilities=[0.1] * 10)
            writer.append([(record, image)])
        writer.close()

    def _write_labels(self) -> None:
        truths = simulation.load_simulation(self.workspace.root)[0]
        images = self.workspace.root.parent / "images"
        from core.images import clean_image

        with (images.parent / "labels.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "label"])
            for number, path in enumerate(sorted(images.iterdir())):
                truth = int(truths[clean_image(path.read_bytes()).sample_id])
                rows.writerow([path.name, (truth + (number % 10 == 0)) % 10])


def state(url: str) -> dict[str, Any]:
    """The ledger, and what was drained and decided."""
    engine = connect(url)
    with engine.connect() as connection:
        drained = sorted(map(repr, connection.execute(text(
            "SELECT prediction_id, request_id, sample_id, label FROM predictions"
        ))))  # fmt: skip
        decided = sorted(map(repr, connection.execute(text(
            "SELECT model, first_seq, last_seq, action FROM decisions"
        ))))  # fmt: skip
        highest = connection.scalar(text("SELECT max(seq) FROM predictions")) or 0
    engine.dispose()
    return ledger(url) | {
        "predictions": drained, "decisions": decided, "numbered": highest == len(drained)
    }  # fmt: skip


def play(
    server: RestartedPostgres, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, *,
    is_interrupted: bool,
) -> dict[str, tuple[dict[str, Any], list[str]]]:  # fmt: skip
    """After each flow the state of the ledger, and what was broken in it."""
    url = server.make(name, "template_hone")
    monkeypatch.setenv("HONE_DATABASE_URL", url)
    workspace = make_world(folder / name)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    one = Play(workspace)
    states = {}
    with direct_run.direct_runs():
        for flow, work in one.flows.items():
            one.prepare(flow)
            times = 5 if is_interrupted else 0
            every = 1 if flow == "release" else 5
            engine = open_context().engine
            with interrupted(engine, server, every=every, times=times, restart=True) as broken:
                until_done(work)
            states[flow] = state(url), broken
        findings = fsck.check()
    assert findings == []
    return states


def test_every_flow_ends_as_an_uninterrupted_one(
    server: RestartedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections break within transactions, before and after commits, and the server restarts."""
    monkeypatch.setattr(direct_run, "_delays", lambda task: [0.0] * (task.retries or 0))
    whole = play(server, tmp_path, "whole", monkeypatch, is_interrupted=False)
    again = play(server, tmp_path, "again", monkeypatch, is_interrupted=True)
    for flow, (expected, _) in whole.items():
        actual, broken = again[flow]
        assert len(broken) >= 3, f"{flow}: {broken}"
        assert actual == expected, flow
    assert sum("restart" in what for _, broken in again.values() for what in broken) >= 7
    kinds = {what.removesuffix(", restart") for _, broken in again.values() for what in broken}
    assert kinds == set(MOMENTS)


@pytest.fixture
def engine(server: RestartedPostgres, request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = connect(server.make(request.node.name[:60].lower(), "template_hone"))
    yield engine
    engine.dispose()


def damage_of(engine: Engine, folder: Path) -> list[str]:
    """What fsck says of the database itself."""
    workspace = Workspace(folder, "", "", (), image_size=8)
    return [finding.what for finding in the_database_is_whole(engine, workspace)]


def test_a_flipped_bit_in_a_table_is_named_here_too(
    engine: Engine, server: RestartedPostgres, tmp_path: Path
) -> None:
    with writing(engine) as connection:
        for number in range(200):
            about = {"name": f"{number:03d}", "value": "x" * 100}
            connection.execute(insert(watermarks), [about])
    assert damage_of(engine, tmp_path) == []
    server.damage(str(engine.url.database), "watermarks")
    (what,) = damage_of(engine, tmp_path)
    assert "invalid page in block" in what


def test_an_index_that_is_not_valid_is_named_here_too(
    engine: Engine, server: RestartedPostgres, tmp_path: Path
) -> None:
    index = "ix_labels_replaced"
    with psycopg.connect(server.url(str(engine.url.database)), autocommit=True) as connection:
        change = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass"
        connection.execute(change, [index])
    (what,) = damage_of(engine, tmp_path)
    assert what.endswith(f"index {index} is not valid")


def test_a_holder_keeps_its_lock_through_a_restart_longer_than_the_lease(
    engine: Engine, server: RestartedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(core.locks, "GRACE_SECONDS", 2.0)
    machine = core.locks._machine()
    contender: list[BaseException | str] = []

    def somewhere() -> str:
        return machine if threading.current_thread().name != "contender" else "another host"

    def contend() -> None:
        try:
            with only_writer(engine, "git", patience=3.0):
                contender.append("has the lock")
        except LockBusy as error:
            contender.append(error)

    monkeypatch.setattr(core.locks, "_machine", somewhere)
    with only_writer(engine, "git") as token:
        server.stop()
        time.sleep(1.5)  # longer than the lease
        server.start()
        other = threading.Thread(target=contend, name="contender")
        other.start()
        other.join()
        assert isinstance(contender[0], LockBusy)
        token.check()
        with writing(engine) as connection:
            core.locks.fence(connection, token)


def test_a_lock_that_passed_on_while_the_server_was_away_is_noticed(
    engine: Engine, server: RestartedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 0.4)
    with only_writer(engine, "git") as token:
        server.stop()
        server.start()
        with psycopg.connect(str(engine.url).replace("+psycopg", "")) as raw:
            raw.execute("UPDATE locks SET token = token + 1, holder = 'elsewhere:1:1'")
        deadline = time.monotonic() + 60
        with pytest.raises(LockLost):
            while time.monotonic() < deadline:
                token.check()
                time.sleep(0.01)


def test_a_read_only_server_is_named_and_the_rerun_goes_on(
    server: RestartedPostgres, engine: Engine
) -> None:
    name = engine.url.database
    with psycopg.connect(server.url("postgres"), autocommit=True) as raw:
        raw.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    take = update(locks).values(holder=None)
    words = f"{name} .*is read-only .*HONE_DATABASE_URL"
    with pytest.raises(DatabaseFault, match=words) as fault, writing(engine) as connection:
        connection.execute(take)
    assert not fault.value.passes
    with psycopg.connect(server.url("postgres"), autocommit=True) as raw:
        raw.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off')
    engine.dispose()
    with writing(engine) as connection:
        connection.execute(take)


def test_a_server_that_stays_away_is_an_error_after_the_wait_and_said_before_it(
    server: RestartedPostgres,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    server.stop()
    with pytest.raises(DatabaseFault, match=r"does not answer .*wait for the server, or start it"):
        engine.connect()
    server.start()
    assert [record.getMessage()[:33] for record in caplog.records] == [
        "waiting up to 1 s for the databas"
    ]
    with pytest.raises(DatabaseFault, match=r"could not be opened .*absent.* does not exist"):
        connect(server.url("absent")).connect()
