"""Entries of the model store compared with their manifest, their card and their row."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import Engine, select

from core.files import file_sha256, read_checked, write_atomically
from core.locks import only_writer
from models.registry.model_card import ModelCard
from models.registry.model_store import (
    FILES,
    MANIFEST,
    NAME,
    bento_labels,
    bento_metadata,
    create_entry,
    entry,
)
from models.registry.versions import models

if TYPE_CHECKING:
    import numpy as np


def damage_of(folder: Path, sha256: str) -> str | None:
    """What is wrong with the files of an entry whose manifest has this SHA-256; None: nothing.

    The weights are read in parts and not loaded: their SHA-256 proves that they are those saved.
    """
    try:
        manifest = json.loads(read_checked(folder / MANIFEST, sha256))
        for name in FILES:
            if file_sha256(folder / name) != manifest[name]:
                return f"{name} is damaged: its SHA-256 is not that in {MANIFEST}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError) as error:
        return str(error).partition(";")[0]
    return None


def saved_card(folder: Path, sha256: str) -> bytes | None:
    """The card of an entry as it was saved; None where it or the manifest is damaged."""
    try:
        manifest = json.loads(read_checked(folder / MANIFEST, sha256))
        return read_checked(folder / "card.json", manifest["card.json"])
    except (OSError, ValueError, KeyError):
        return None


def saved_reference(folder: Path, sha256: str) -> "tuple[list[str], np.ndarray] | None":
    """The samples that an entry stored predictions of, and its outputs for them, [n, numbers].

    None where a file is damaged, or where an older version stored no samples. Embeddings and
    weights are not loaded.
    """
    import numpy as np

    if damage_of(folder, sha256) is not None:
        return None
    with np.load(folder / "reference.npz", allow_pickle=False) as arrays:
        names = arrays["sample_ids"].astype(str).tolist() if "sample_ids" in arrays else []
        outputs = arrays["probs"]
    return (names, outputs) if names and len(names) == len(outputs) else None


def identity_of(folder: Path) -> str:
    """The part of a version's name that is made of the contents of its entry."""
    sums = json.loads((folder / MANIFEST).read_bytes())
    card = {**json.loads((folder / "card.json").read_bytes()), "created_at": "-"}
    timeless = _text_sha256(json.dumps(card, indent=1, sort_keys=True))
    parts = (sums["weights.safetensors"], timeless, sums["reference.npz"])
    return _text_sha256("".join(parts))[:10]


def tag_of(folder: Path) -> dict[str, Any]:
    """What BentoML's `model.yaml` of an entry names: version, labels and metadata."""
    content = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    names = ("name", "version", "labels", "metadata")
    return {name: content[name] for name in names}


def expected_tag(version: str, card: ModelCard, sha256: str) -> dict[str, Any]:
    """What `tag_of` gives for a version that was saved."""
    return {
        "name": NAME,
        "version": version.partition(":")[2],
        "labels": bento_labels(card),
        "metadata": {**bento_metadata(card), "manifest_sha256": sha256},
    }


def mend_tags(engine: Engine, bento_home: Path) -> None:
    """Write the `model.yaml` of entries anew where it is not what the card and manifest say."""
    with only_writer(engine, "models"), engine.connect() as connection:
        rows = connection.execute(select(models.c.version, models.c.weights_sha256)).all()
    for version, sha256 in rows:
        folder = entry(bento_home, version)
        text = saved_card(folder, sha256)
        if text is None:
            continue
        card = ModelCard.from_json(text)
        if not _is_tagged(folder, expected_tag(version, card, sha256)):
            with tempfile.TemporaryDirectory(dir=bento_home) as home:
                create_entry(Path(home), version, card, sha256)
                content = (entry(Path(home), version) / "model.yaml").read_bytes()
            write_atomically(folder / "model.yaml", content)


def _is_tagged(folder: Path, wanted: dict[str, Any]) -> bool:
    try:
        return tag_of(folder) == wanted
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return False


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
