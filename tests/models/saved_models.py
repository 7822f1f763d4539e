"""A small workspace with saved and released models, and images to send; shared by the tests."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sqlalchemy import Engine

from core.database import connect, now, upgrade
from core.workspace import Workspace, load_workspace
from models.judging.verdict import Outcome, Verdict
from models.network.network import Network, NetworkConfig, build
from models.registry.model_card import ModelCard
from models.registry.model_store import save_model
from models.registry.releases import champion, current_release, release
from models.registry.versions import record_verdict
from models.scoring.predict import Predictions, predict

CLASSES = ("cat", "dog", "eel")
SIZE = 16


def make_workspace(root: Path) -> tuple[Workspace, Engine]:
    """A workspace as far as models and their service need one, and its database."""
    root.mkdir(parents=True)
    named = "".join(f'[[class]]\nname = "{name}"\n' for name in CLASSES)
    (root / "hone.toml").write_text(f"image_size = {SIZE}\n{named}")
    workspace = load_workspace(root)
    engine = connect(workspace.database)
    upgrade(engine)
    return workspace, engine


def make_network(seed: int = 0) -> Network:
    """An untrained network of a small backbone with a temperature; another seed, other weights."""
    torch.manual_seed(seed)
    config = NetworkConfig("squeezenet1_1")
    network = build(config, classes=len(CLASSES), image_size=SIZE).eval()
    network.temperature.fill_(1.5)
    return network


def make_card(**changes: object) -> ModelCard:
    """A model card with nothing missing."""
    known: dict[str, object] = {
        "classes": CLASSES,
        "image_size": SIZE,
        "network": {"backbone": "squeezenet1_1", "weights": None, "small_stem": None},
        "snapshot": "snapshot-0001",
        "code_commit": "0123abc",
        "seed": 0,
        "train": {"epochs": 1},
        "strategy": "margin",
        "metrics": {"accuracy": 0.5, "loss": float("nan")},
        "created_at": now(),
    }
    return ModelCard(**(known | changes))  # type: ignore[arg-type]


def save(
    workspace: Workspace, engine: Engine, seed: int = 0, *, network: Network | None = None
) -> str:
    """Save a network, or one of this seed; return its version."""
    network = make_network(seed) if network is None else network
    return save_model(engine, workspace.bento_home, network, make_card(), reference(network))


def reference(network: Network) -> Predictions:
    """What the network says about a few images."""
    images = torch.randint(
        0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return predict(network, images)


def judge(engine: Engine, version: str, outcome: str = "PROMOTE") -> str:
    """Record a verdict on `version` against the present champion."""
    return record_verdict(
        engine,
        challenger=version,
        champion=champion(engine),
        snapshot="snapshot-0001",
        rows_fingerprint="f00d",
        verdict=Verdict(Outcome(outcome), ["better"], {"challenger_accuracy": 0.5}),
    )


def put_in_service(engine: Engine, version: str) -> int:
    """Judge and release `version`; return the number of the release."""
    current = current_release(engine)
    return release(
        engine,
        version=version,
        verdict_id=judge(engine, version),
        who="hone retrain",
        why="better",
        expected=current.number if current else 0,
    )


def png(seed: int = 0, side: int = 20) -> bytes:
    """A PNG of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()
