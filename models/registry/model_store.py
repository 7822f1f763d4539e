"""Models on disk: entries of the workspace's BentoML model store, complete and checked, or absent.

An entry holds weights (safetensors), the model card (JSON), the model's predictions for rows that
it was not trained on (npz) and a manifest with the SHA-256 of each. The row in `models`, written
last, has the manifest's SHA-256: an entry without a row is not a model, and a changed file is not
loaded.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, select

from core import journal
from core.database import writing
from core.files import read_checked, sync_path, write_atomically
from core.intents import begin_intent, commit_intent, open_intents
from core.locks import Token, only_writer
from models.registry.bentoml_private import model_store
from models.registry.model_card import ModelCard
from models.registry.versions import find_model, models

if TYPE_CHECKING:
    from models.network.network import Network
    from models.runtimes.runtime import Runtime
    from models.scoring.predict import Predictions

NAME = "hone"  # of every model and bento of ours in a BentoML store
INTENT = "save-model"
FILES = ("weights.safetensors", "card.json", "reference.npz")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class LoadedModel:
    """A model as it was saved; the SHA-256 of every file was checked."""

    version: str
    sha256: str
    network: "Network"
    card: ModelCard
    reference: "Predictions"  # of rows it did not train on
    reference_ids: tuple[str, ...] = ()  # samples of those rows; older versions stored none
    folder: Path | None = None  # where its files lie
    runtime: "Runtime | None" = None  # what computes its served predictions; None: eager torch


def save_model(
    engine: Engine,
    bento_home: Path,
    network: "Network",
    card: ModelCard,
    reference: "Predictions",
    reference_ids: Sequence[str] = (),
) -> str:
    """Save a model in the store and in the database; return its version.

    `reference` are its predictions for rows it was not trained on, `reference_ids` their samples.

    Idempotent: the same weights with the same card (except for its time) are one version. A kill at
    any moment leaves an intent that the next save completes or removes.
    """
    contents = _pack(network, card, reference, reference_ids)
    identity = _identity(contents, card)
    with only_writer(engine, "models") as token:
        _finish(engine, token, bento_home)
        with engine.connect() as connection:
            versions = connection.scalars(select(models.c.version)).all()
        known = [version for version in versions if version.endswith(f"-{identity}")]
        if known:
            return known[0]
        version = f"{NAME}:{_next_number(list(versions)):04d}-{identity}"
        manifest = json.dumps({name: _sha256(contents[name]) for name in FILES}, indent=1).encode()
        payload = {"version": version, "manifest": _sha256(manifest)}
        key = f"{version}@{token.number}"  # a removed attempt has its own intent
        with writing(engine) as connection:
            begin_intent(connection, token, kind=INTENT, key=key, payload=payload)
        _write_entry(bento_home, version, card, {**contents, MANIFEST: manifest})
        with writing(engine) as connection:
            _record(connection, token, key, version, card, payload["manifest"])
    return version


def finish_saves(engine: Engine, bento_home: Path) -> list[str]:
    """Complete or remove the entries of interrupted saves; return one sentence for each."""
    with only_writer(engine, "models") as token:
        return _finish(engine, token, bento_home)


def load_model(engine: Engine, bento_home: Path, version: str) -> LoadedModel:
    """The model `version` as it was recorded; a damaged file is an error that names it."""
    return read_model(
        entry(bento_home, version), version, find_model(engine, version).weights_sha256
    )


def read_model(folder: Path, version: str, sha256: str) -> LoadedModel:
    """The model in `folder`, every file checked against the manifest with this SHA-256.

    No file can run code: safetensors, JSON, and npz without pickled objects.
    """
    import safetensors.torch
    import torch

    from models.network.network import NetworkConfig, NoRandomWeights, build, put_weights

    contents = _read_checked(folder, version, sha256)
    card = ModelCard.from_json(contents["card.json"])
    config = replace(NetworkConfig(**card.network), weights=None)  # its own weights follow
    with NoRandomWeights():
        network = build(
            config, classes=len(card.classes), image_size=card.image_size, kind=card.label_kind
        )
    weights = safetensors.torch.load(contents["weights.safetensors"])
    weights.setdefault("temperature", torch.ones(()))  # older versions stored none
    put_weights(network, weights)
    network.eval()
    rows, ids = _unpack(contents["reference.npz"])
    return LoadedModel(version, sha256, network, card, rows, ids, folder=folder)


def entry(bento_home: Path, version: str) -> Path:
    """The folder of `version` in the model store."""
    name, _, number = version.partition(":")
    if name != NAME or not re.fullmatch(r"[a-z0-9][-a-z0-9.]*", number):
        raise ValueError(f"{version!r} is not a model version; example: {NAME}:0001-1f2e")
    return bento_home / "models" / name / number


def unrecorded_entries(engine: Engine, bento_home: Path) -> list[str]:
    """Entries of the store without a row in the database; they are never served."""
    with engine.connect() as connection:
        known = set(connection.scalars(select(models.c.version)))
    folders = (path for path in (bento_home / "models" / NAME).glob("*") if path.is_dir())
    return sorted({f"{NAME}:{path.name}" for path in folders} - known)


def _pack(
    network: "Network", card: ModelCard, reference: "Predictions", reference_ids: Sequence[str]
) -> dict[str, bytes]:
    import numpy as np
    import safetensors.torch
    import torch

    weights = {name: part.detach().cpu() for name, part in network.state_dict().items()}
    broken = [name for name, part in weights.items() if not torch.isfinite(part).all()]
    if broken:
        raise ValueError(f"weights of {broken[0]} are not finite: nothing was saved, train again")
    packed = io.BytesIO()
    names = np.array(list(reference_ids), dtype="S")
    np.savez(packed, probs=reference.outputs, embeddings=reference.embeddings, sample_ids=names)
    return {
        "weights.safetensors": safetensors.torch.save(
            {name: part.contiguous() for name, part in weights.items()}
        ),
        "card.json": card.to_json().encode(),
        "reference.npz": packed.getvalue(),
    }


def _unpack(content: bytes) -> "tuple[Predictions, tuple[str, ...]]":
    import numpy as np

    from models.scoring.predict import Predictions

    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        names = arrays["sample_ids"].astype(str).tolist() if "sample_ids" in arrays else []
        return Predictions(arrays["probs"], arrays["embeddings"]), tuple(names)


def _identity(contents: dict[str, bytes], card: ModelCard) -> str:
    timeless = replace(card, created_at="-").to_json().encode()
    parts = (contents["weights.safetensors"], timeless, contents["reference.npz"])
    return _sha256("".join(map(_sha256, parts)).encode())[:10]


def _next_number(versions: list[str]) -> int:
    return 1 + max((int(version.split(":")[1].split("-")[0]) for version in versions), default=0)


def _write_entry(
    bento_home: Path, version: str, card: ModelCard, contents: dict[str, bytes]
) -> None:
    folder = entry(bento_home, version)
    create_entry(bento_home, version, card, _sha256(contents[MANIFEST]))
    for name, content in {**contents, "model.yaml": (folder / "model.yaml").read_bytes()}.items():
        write_atomically(folder / name, content)
    sync_path(folder.parent)


def create_entry(bento_home: Path, version: str, card: ModelCard, sha256: str) -> None:
    """An entry of BentoML with its `model.yaml`; our files follow, fsynced."""
    store = _model_store(bento_home)
    import bentoml

    with bentoml.models.create(
        version,
        labels=bento_labels(card),
        metadata={**bento_metadata(card), "manifest_sha256": sha256},
        _model_store=store,
    ):
        pass


def _model_store(bento_home: Path) -> Any:
    """BentoML's model store at `bento_home`.

    Built directly: BentoML reads BENTOML_HOME once a process, and a process may use two homes.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # read once, at its first event
    folder = bento_home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return model_store(folder)


def bento_labels(card: ModelCard) -> dict[str, str]:
    """The part of the card that BentoML's labels hold."""
    return {"snapshot": card.snapshot, "strategy": card.strategy}


def bento_metadata(card: ModelCard) -> dict[str, str | int | float]:
    """The part of the card that BentoML's metadata can hold: no null, nothing nested."""
    fields = json.loads(card.to_json())
    flat = {name: fields[name] for name in ("code_commit", "seed")} | fields["metrics"]
    return {name: value for name, value in flat.items() if isinstance(value, str | int | float)}


def _record(
    connection: Connection, token: Token, key: str, version: str, card: ModelCard, sha256: str
) -> None:
    config = json.loads(card.to_json())
    row = {
        "version": version,
        "weights_sha256": sha256,
        "snapshot": card.snapshot,
        "code_commit": card.code_commit,
        "seed": card.seed,
        "config": config,
        "metrics": config["metrics"],
        "created_at": card.created_at,
    }
    journal.insert(connection, models, [row])
    commit_intent(connection, token, kind=INTENT, key=key)


def _finish(engine: Engine, token: Token, bento_home: Path) -> list[str]:
    with engine.connect() as connection:
        unfinished = open_intents(connection, INTENT)
    done = []
    for key, payload in unfinished.items():
        version, sha256 = payload["version"], payload["manifest"]
        folder = entry(bento_home, version)
        try:
            contents = _read_checked(folder, version, sha256)
        except ValueError:
            shutil.rmtree(folder, ignore_errors=True)
            with writing(engine) as connection:
                commit_intent(connection, token, kind=INTENT, key=key, outcome="removed")
            done.append(f"{version}: incomplete, removed")
            continue
        for left in folder.glob(".*.part"):
            left.unlink()
        card = ModelCard.from_json(contents["card.json"])
        with writing(engine) as connection:
            _record(connection, token, key, version, card, sha256)
        done.append(f"{version}: completed")
    return done


def _read_checked(folder: Path, version: str, sha256: str) -> dict[str, bytes]:
    """The contents of every file of the entry, each with the SHA-256 in the manifest."""
    try:
        manifest = json.loads(read_checked(folder / MANIFEST, sha256))
        return {name: read_checked(folder / name, manifest[name]) for name in FILES}
    except (ValueError, OSError) as error:
        cause = str(error).partition(";")[0]  # the remedy that follows is for data under DVC
        raise ValueError(
            f"model {version} is damaged and was not loaded: {cause}. Restore its folder {folder} "
            "from a copy, or release another version"
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
