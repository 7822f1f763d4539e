"""The model and the images that all servers have."""

import os
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = tuple(f"class-{number}" for number in range(10))


def make_images(source: Path | None, count: int, size: int, file_format: str) -> list[bytes]:
    """`count` files of size x size pixels: photos of a ZIP archive, else smooth made pictures."""
    from PIL import Image

    pictures = list(_photos(source, count) if source else _made(count))
    files = []
    for picture in pictures:
        file = BytesIO()
        scaled = picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        scaled.save(file, file_format)
        files.append(file.getvalue())
    return files


def _photos(source: Path, count: int) -> Any:
    from PIL import Image

    with zipfile.ZipFile(source) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".jpg", ".png")))
        for name in names[:: max(1, len(names) // count)][:count]:
            yield Image.open(BytesIO(archive.read(name)))


def _made(count: int) -> Any:
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(count):
        yield Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def make_workspace(folder: Path, backbone: str, size: int, images: list[bytes]) -> None:
    """A workspace with a released model whose answers differ from image to image."""
    import torch

    from core.database import connect, now, upgrade
    from core.images import decode_image
    from core.workspace import load_workspace
    from models.network.images import prepare
    from models.network.network import NetworkConfig, build
    from models.registry.model_card import ModelCard
    from models.registry.model_store import save_model
    from models.registry.releases import release
    from models.scoring.predict import predict

    folder.mkdir(parents=True)
    named = "".join(f'[[class]]\nname = "{name}"\n' for name in CLASSES)
    (folder / "hone.toml").write_text(f"image_size = {size}\n{named}")
    workspace = load_workspace(folder)
    engine = connect(workspace.database)
    upgrade(engine)
    torch.manual_seed(0)
    network = build(NetworkConfig(backbone), classes=len(CLASSES), image_size=size)
    rows = torch.stack([prepare(decode_image(one), size) for one in images[:64]])
    with torch.no_grad():  # or every image would get one label
        for _ in range(20):
            network.train()(rows)
        embeddings = network.eval().embed(rows)
        network.head.bias -= network.head(embeddings).mean(dim=0)
        network.head.weight /= network.head(embeddings).std()
    card = ModelCard(
        classes=CLASSES, image_size=size, network={"backbone": backbone}, snapshot="none",
        code_commit="none", seed=0, train={}, strategy="none", metrics={}, created_at=now(),
    )  # fmt: skip
    ids = [f"{number:032x}" for number in range(len(rows))]
    version = save_model(engine, workspace.bento_home, network, card, predict(network, rows), ids)
    release(
        engine, version=version, verdict_id=None, who="benchmark", why="to be measured",
        expected=0, override=True,
    )  # fmt: skip


@cache
def champion() -> Any:
    """The champion of HONE_WORKSPACE, as the other servers have it too."""
    import torch

    from core.database import connect
    from core.workspace import load_workspace
    from models.registry.model_store import load_model
    from models.registry.releases import champion as released

    torch.set_num_threads(1)
    workspace = load_workspace(Path(os.environ["HONE_WORKSPACE"]))
    engine = connect(workspace.database)
    version = released(engine)
    assert version
    return load_model(engine, workspace.bento_home, version)


def answer_of(probabilities: Any) -> dict[str, Any]:
    """What each of the other servers answers."""
    best = int(np.argmax(probabilities))
    shown = [float(value) for value in probabilities]
    return {"label": CLASSES[best], "probabilities": shown}


def decoded(content: bytes) -> Any:
    """The picture as any service would decode it: uint8 [1, 3, size, size]."""
    import torch
    from PIL import Image

    size = champion().card.image_size
    picture = Image.open(BytesIO(content)).convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
