"""A workspace whose labels come from folders of images, as a person would import them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.workspace import Workspace, init_workspace
from tasks import exchange

CLASSES = ["cat", "dog"]


def new_workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that tasks open; it has no audit."""
    workspace = init_workspace(
        folder / "workspace", CLASSES, image_size=8, policies="[audit]\nshare = 0.0\n"
    )
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    return workspace


def import_images(folder: Path, *, gold: bool = False, **counts: int) -> None:
    """Import so many new images of each class from the new folder `folder`."""
    rng = np.random.default_rng(list(folder.name.encode()))
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    exchange.import_labels(folder, gold=gold)
