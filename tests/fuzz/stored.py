"""What is read back from disk: segments, weights, caches, notes; and what damage does to them."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save
from sqlalchemy import update

from core.database import connect, upgrade, writing
from core.dvc_objects import _is_json, _is_note
from labeling.ingest.near_duplicates import ThumbnailIndex
from labeling.simulation import FILE, load_simulation
from labeling.studio.project import _Note
from models.network.network import _read_state
from models.pretraining import cold_start
from models.registry.model_card import ModelCard
from models.registry.model_store import entry, read_model
from models.registry.versions import find_model
from models.scoring.cache import open_cache
from models.serving import prediction_store
from models.serving.segments import _encode
from models.serving.shadow_records import (
    ShadowAnswer,
    ShadowRecord,
    fields_of_record,
    record_of,
    shadow_record,
)
from tests.fuzz import seeds
from tests.models.saved_models import make_card, make_workspace
from tests.models.saved_models import save as store
from tests.models.serving.test_prediction_store import served

Act = Callable[[bytes], object]
MARKER = bytes(range(1, 9))
SEGMENT = f"00000000000000000001-1-{MARKER.hex()}.seg"


def folder_names() -> list[bytes]:
    """What the folders of an exported tree stand for."""
    return [json.dumps({"cat": "cat", "dog_": "dog"}).encode()]


def _record(number: int) -> dict[str, object]:
    return asdict(served(number, b"image")) | {"embedding": "AAAA"}


def segments() -> list[bytes]:
    """A segment of five records, of the present format."""
    texts = [json.dumps(_record(number)).encode() for number in range(5)]
    whole = [_encode(MARKER, number, text, b"image" * 20) for number, text in enumerate(texts)]
    return [b"".join(whole)]


def segment(folder: Path) -> Act:
    """A segment, scanned and drained."""
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    upgrade(engine)
    traffic = folder / "traffic"
    traffic.mkdir()

    def act(content: bytes) -> object:
        for name in (SEGMENT, "old.seg"):
            (traffic / name).write_bytes(content)
        with writing(engine) as connection:
            connection.execute(update(prediction_store.segments).values(drained_to=0))
        prediction_store.drain(engine, traffic)
        states = list(prediction_store.segment_states(engine, traffic))
        return None if len(states) == 2 else states

    return act


def records() -> list[bytes]:
    """The JSON of a record."""
    return [json.dumps(_record(1)).encode()]


def record(folder: Path) -> Act:
    """A record whose checksums are right, whatever its JSON says, between two that are sound."""
    drain = segment(folder)
    sound = [json.dumps(_record(number)).encode() for number in (1, 2)]

    def act(content: bytes) -> object:
        texts = [sound[0], content, sound[1]]
        return drain(b"".join(_encode(MARKER, at, text, b"image") for at, text in enumerate(texts)))

    return act


def shadow_records() -> list[bytes]:
    """What a challenger answered."""
    at = "2026-01-01T00:00:00.000000+00:00"
    answer = ShadowAnswer("7" * 32, "s", "north", at, "cat", False, "dog", 0.5, True)
    return [record_of(ShadowRecord("0" * 32, 3, "a", "b", at, timings=((0.1, 0.2),),
                                   answers=(answer,)))]  # fmt: skip


def shadow(folder: Path) -> Act:
    """The JSON of a record of a trial whose checksums are right."""

    def act(content: bytes) -> object:
        fields = fields_of_record(content)
        return None if fields is None else len(record_of(shadow_record(fields)))

    return act


def _state() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.zeros(3, 4), "a.bias": torch.ones(3), "count": torch.tensor(2)}


def safetensors() -> list[bytes]:
    """Weights."""
    return [save(_state())]


def state_dicts() -> list[bytes]:
    """Weights as torch saves them."""
    buffer = io.BytesIO()
    torch.save(_state(), buffer)
    return [buffer.getvalue()]


def weights(suffix: str) -> Callable[[Path], Act]:
    """The tensors of a file of weights."""

    def opened(folder: Path) -> Act:
        def act(content: bytes) -> object:
            (folder / f"a{suffix}").write_bytes(content)
            return (
                None
                if all(map(torch.is_tensor, _read_state(folder / f"a{suffix}").values()))
                else 1
            )

        return act

    return opened


@cache
def _saved_model() -> tuple[Path, str, str]:
    """A folder with a saved model; it stays until the process ends."""
    folder = Path(_AWAY.name) / "workspace"
    workspace, engine = make_workspace(folder)
    version = store(workspace, engine)
    return entry(workspace.bento_home, version), version, find_model(engine, version).weights_sha256


_AWAY = TemporaryDirectory(prefix="hone-fuzz-")
_FILES = ("manifest.json", "card.json", "reference.npz")


def models() -> list[bytes]:
    """The small files of a saved model, its number in front."""
    folder, _, _ = _saved_model()
    return [bytes([at]) + (folder / name).read_bytes() for at, name in enumerate(_FILES)]


def model(folder: Path) -> Act:
    """A saved model one file of which was changed."""
    saved, version, sha256 = _saved_model()
    copy = folder / "model"
    shutil.copytree(saved, copy)

    def act(content: bytes) -> object:
        name = _FILES[content[0] % len(_FILES)] if content else _FILES[0]
        (copy / name).write_bytes(content[1:])
        try:
            return read_model(copy, version, sha256) and None
        finally:
            shutil.copyfile(saved / name, copy / name)

    return act


def cards() -> list[bytes]:
    """A model card."""
    return [make_card().to_json().encode()]


def card(folder: Path) -> Act:
    """A model card that is read, and written again."""
    return lambda content: ModelCard.from_json(content).to_json() and None


def encoders() -> list[bytes]:
    """What is stored of an encoder, beside its weights."""
    return [json.dumps({"side": 16, "source": "a", "count": 3, "state": "0" * 64}).encode()]


def encoder(folder: Path) -> Act:
    """A stored encoder; a damaged one is made anew."""
    (folder / "encoder.safetensors").write_bytes(safetensors()[0])

    def act(content: bytes) -> object:
        (folder / "encoder.json").write_bytes(content)
        return cold_start._load_encoder(folder, "texture") and None

    return act


def _index() -> ThumbnailIndex:
    index = ThumbnailIndex()
    rng = np.random.default_rng(0)
    names = [f"{number:064x}" for number in range(30)]
    index.add(names, [rng.bytes(256) for _ in names])
    return index


def thumbnails() -> list[bytes]:
    """The files of an index of thumbnails, the number of each in front."""
    with TemporaryDirectory() as folder:
        _index().save(Path(folder), "v")
        paths = sorted(Path(folder).iterdir(), key=lambda path: path.suffixes)
        return [bytes([at]) + path.read_bytes() for at, path in enumerate(paths)]


def thumbnail_index(folder: Path) -> Act:
    """An index of thumbnails one file of which was changed; a damaged one is made anew."""
    whole = folder / "whole"
    _index().save(whole, "v")
    names = [path.name for path in sorted(whole.iterdir(), key=lambda path: path.suffixes)]
    copy = folder / "copy"
    shutil.copytree(whole, copy)

    def act(content: bytes) -> object:
        name = names[content[0] % len(names)] if content else names[0]
        (copy / name).write_bytes(content[1:])
        try:
            index = ThumbnailIndex.load(copy, "v")
            if index is not None:
                index.add(["a" * 64], [bytes(256)])
            return None
        finally:
            shutil.copyfile(whole / name, copy / name)

    return act


_SCORE_FILES = ("blocks", "shape.json", "ids", "probs", "lock")


def _scores(folder: Path) -> None:
    with open_cache(folder, outputs=2, width=3, model="m") as cache_:
        names = [f"{number:064x}" for number in range(5)]
        cache_.append(names, np.zeros((5, 2), np.float32), np.zeros((5, 3), np.float32))


def scores() -> list[bytes]:
    """The files of a cache of predictions, the number of each in front."""
    with TemporaryDirectory() as folder:
        _scores(Path(folder))
        return [
            bytes([at]) + (Path(folder) / name).read_bytes() for at, name in enumerate(_SCORE_FILES)
        ]


def score_cache(folder: Path) -> Act:
    """A cache of predictions one file of which was changed; a damaged one is begun anew."""
    whole, copy = folder / "whole", folder / "copy"
    _scores(whole)

    def act(content: bytes) -> object:
        shutil.copytree(whole, copy, dirs_exist_ok=True)
        name = _SCORE_FILES[content[0] % len(_SCORE_FILES)] if content else "blocks"
        (copy / name).write_bytes(content[1:])
        with open_cache(copy, outputs=2, width=3, model="m") as opened:
            return None if len(opened.outputs) == len(opened.embeddings) else opened

    return act


def notes() -> list[bytes]:
    """What git keeps of an object of DVC, and DVC's lock."""
    note = b"outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 3\n  path: labels.parquet\n"
    return [note, json.dumps({"a": {"read": [{"pid": 1, "cmd": "x"}]}}).encode()]


def note(folder: Path) -> Act:
    """Whether a file is a note of DVC's, or JSON; a killed DVC leaves others."""

    def act(content: bytes) -> object:
        return (
            None
            if isinstance(_is_note(content.decode("utf-8", "replace")) + _is_json(content), int)
            else 1
        )

    return act


def simulations() -> list[bytes]:
    """Simulated annotators."""
    annotator = {"name": "ann", "error_rate": 0.1, "skip_rate": 0.0}
    return [
        json.dumps({"seed": 1, "annotators": [annotator], "truths": {seeds.SAMPLE: "cat"}}).encode()
    ]


def simulation(folder: Path) -> Act:
    """The simulated annotators of a workspace."""

    def act(content: bytes) -> object:
        (folder / FILE).write_bytes(content)
        return load_simulation(folder) and None

    return act


def project_notes() -> list[bytes]:
    """Which project of Label Studio's is the workspace's."""
    return [b'{"mark": "hone-1", "project": 3}']


def project_note(folder: Path) -> Act:
    """The note of the workspace's project."""

    def act(content: bytes) -> object:
        (folder / "label-studio.json").write_bytes(content)
        return _Note(folder / "label-studio.json") and None

    return act
