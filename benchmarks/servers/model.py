"""The model and the images that all servers have."""

import os
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

TRAINED_AT = 64  # pixels: networks that were trained at one size run at another
STEPS, BATCH = 60, 32
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
    from core.database import connect, now, upgrade
    from core.workspace import load_workspace
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
    network, rows = _trained(backbone, size, images)
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


def _trained(backbone: str, size: int, images: list[bytes]) -> tuple[Any, Any]:
    """A network that learned how bright an image is, in ten steps, and some images for it."""
    import torch
    import torch.nn.functional as F

    from core.images import decode_image
    from models.network.images import prepare
    from models.network.network import NetworkConfig, build

    torch.manual_seed(0)
    network = build(NetworkConfig(backbone), classes=len(CLASSES), image_size=size)
    rows = torch.stack([prepare(decode_image(one), size) for one in images[:256]])
    small = F.interpolate(rows, (TRAINED_AT, TRAINED_AT), mode="bilinear", antialias=True)
    bright = small.float().mean(dim=(1, 2, 3)).argsort().argsort()
    labels = bright * len(CLASSES) // len(rows)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for step in range(STEPS):
        chosen = torch.arange(BATCH) * 5 + step
        loss = F.cross_entropy(
            network.train()(small[chosen % len(small)]), labels[chosen % len(small)]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():  # the statistics of batch normalisation at the size that is served
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # the mean of all passes
        network(rows[:64])
    return network.eval(), rows[:64]


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
