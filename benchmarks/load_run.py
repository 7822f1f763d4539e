"""An open-loop load on `bentoml serve` while its processes are killed and its disk fills.

    python benchmarks/load_run.py --minutes 10 --kills 30

measures the capacity of two workers, loads them with 80 % of it, and meanwhile kills workers and
parents (SIGKILL), stops workers, changes the release, fills the disk of the traffic and kills
drains. Afterwards it compares what the client was told with what is stored. It prints a table, and
exits 1 when a promise is broken. It takes no options for a full run and cleans up after itself.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.load import faults, promises, report  # noqa: E402
from benchmarks.load.client import Client, Journal, read_journal  # noqa: E402
from benchmarks.load.disk import small_disk  # noqa: E402
from benchmarks.load.server import ManagedServer, Meter  # noqa: E402
from core.workspace import Workspace, init_workspace  # noqa: E402

CLASSES = ["cat", "dog", "eel"]
IMAGE_SIZE = 32
BYTES = 8_000  # that a request takes in a segment, at most
SPARE = 256 * 2**20


@dataclass(frozen=True)
class Load:
    """How long, how hard, and how often something is killed."""

    seconds: float = 600.0
    kills: int = 30
    share: float = 0.8  # of the capacity measured first
    rate: float | None = None  # requests a second, in place of that share
    capacity_seconds: float = 20.0
    seed: int = 0
    workers: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)  # of the server, beside ours


def main() -> None:
    """Run, print the table, and exit 1 when a promise is broken."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--minutes", type=float, default=10.0)
    words.add_argument("--kills", type=int, default=30)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--keep", type=Path, help="folder for workspace, journal and logs")
    given = words.parse_args()
    load = Load(seconds=60 * given.minutes, kills=given.kills, seed=given.seed)
    if given.keep:
        given.keep.mkdir(parents=True)
        text, problems = run(load, given.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="hone-load-") as folder:
            text, problems = run(load, Path(folder))
    print(text)
    sys.exit(1 if problems else 0)


def run(load: Load, folder: Path) -> tuple[str, list[str]]:
    """The report of a run in the new `folder`, and the promises that were broken."""
    from core.database import connect
    from tasks.demo.servers import free_port

    _keep_quiet(folder)
    workspace, versions = _make_workspace(folder / "workspace")
    os.environ["HONE_WORKSPACE"] = str(workspace.root)
    engine = connect(workspace.database)
    environment = {**os.environ, **load.environment}
    environment["BENTOML_CONFIG_OPTIONS"] = f"services.hone.workers={load.workers}"
    server = ManagedServer(free_port(), folder / "bentoml.log", environment)
    meter, journal = Meter(server), Journal(folder / "journal.jsonl")
    client = Client(server.url, journal, load.seed)
    size = int(load.seconds * 400 * BYTES) + SPARE  # sparse: blocks are taken as they are written
    with small_disk(workspace.traffic, size, server.workers) as disk:
        saboteur = faults.Saboteur(
            server, disk, engine=engine, versions=versions, workspace=workspace.root,
            environment=environment, seed=load.seed,
        )  # fmt: skip
        saboteur.release()
        findings = _findings()
        try:
            server.start()
            meter.start()
            capacity = _capacity(client, load)
            saboteur.start(faults.plan(load.seed, load.seconds, load.kills))
            began = time.time()
            rate = load.rate or load.share * (capacity or 0)
            asyncio.run(client.run(rate, load.seconds, saboteur.is_done))
        finally:
            saboteur.stop()
            server.stop()
            meter.stop()
            journal.close()
        problems = [*saboteur.problems, *_drain_all(workspace, engine)]
        evidence = promises.Evidence(
            read_journal(folder / "journal.jsonl"), saboteur.served, meter.usage, engine,
            workspace.bento_home, workspace.traffic,
        )  # fmt: skip
        problems += promises.broken(evidence)
        problems += [f"fsck: {finding}" for finding in _findings() if finding not in findings]
        text = report.table(
            evidence.sent, saboteur.faults, meter.usage, problems, began=began, capacity=capacity,
            starts=server.starts, disk=disk.what,
        )  # fmt: skip
    (folder / "usage.json").write_text(
        json.dumps(
            {worker: [asdict(one) for one in values] for worker, values in meter.usage.items()}
        )
    )
    engine.dispose()
    return text, problems


def _capacity(client: Client, load: Load) -> float | None:
    """Answers a second, measured when the rate depends on it; a shorter turn warms up."""
    if load.rate is not None:
        return None
    asyncio.run(client.measure_capacity(load.capacity_seconds / 4))
    return asyncio.run(client.measure_capacity(load.capacity_seconds))


def _make_workspace(root: Path) -> tuple[Workspace, list[str]]:
    """A workspace with two models that learned nothing, none of them released yet."""
    import torch

    from core.database import connect, now, upgrade
    from models.network.network import NetworkConfig, build
    from models.registry.model_card import ModelCard
    from models.registry.model_store import save_model
    from models.scoring.predict import predict

    torch.set_num_threads(1)
    workspace = init_workspace(root, CLASSES, image_size=IMAGE_SIZE)
    engine = connect(workspace.database)
    upgrade(engine)
    versions = []
    for seed in range(2):
        torch.manual_seed(seed)
        config = NetworkConfig("squeezenet1_1")
        network = build(config, classes=len(CLASSES), image_size=IMAGE_SIZE).eval()
        card = ModelCard(
            classes=tuple(CLASSES), image_size=IMAGE_SIZE, network={"backbone": config.backbone},
            snapshot="none", code_commit="none", seed=seed, train={}, strategy="none", metrics={},
            created_at=now(),
        )  # fmt: skip
        images = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
        reference = predict(network, images)
        versions.append(save_model(engine, workspace.bento_home, network, card, reference))
    engine.dispose()
    return workspace, versions


def _drain_all(workspace: Workspace, engine: object) -> list[str]:
    """Drain what is left, twice; the second time must add nothing.

    Empty segments of killed services count as an hour old: then a drain removes them.
    """
    from models.serving.prediction_store import drain

    for path in workspace.traffic.glob("*.seg"):
        if not path.stat().st_size:
            os.utime(path, (0, 0))
    drain(engine, workspace.traffic)  # type: ignore[arg-type]
    again = drain(engine, workspace.traffic)  # type: ignore[arg-type]
    return [f"a second drain added {again} predictions"] if again else []


def _findings() -> list[str]:
    """What `hone fsck` says: these models were trained on no snapshot, which it names."""
    from tasks.operate import fsck

    return [f"{one.promise} {one.what}" for one in fsck.check()]


def _keep_quiet(folder: Path) -> None:
    """No telemetry, one thread a process, no folder of the user's."""
    os.environ.update({"OMP_NUM_THREADS": "1", "HONE_THREADS": "1", "DO_NOT_TRACK": "1",
                       "BENTOML_DO_NOT_TRACK": "True", "DVC_NO_ANALYTICS": "1",
                       "BENTOML_HOME": str(folder / "bentoml")})  # fmt: skip


if __name__ == "__main__":
    main()
