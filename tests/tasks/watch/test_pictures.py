"""Pictures of served images leave the machine only masked, where the policy says so."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import masking
from core.configuration import fields_of
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from tasks.context import Context, open_context
from tasks.report.html.exemplars import load_exemplars
from tasks.watch.pictures import exemplar_strip
from tests.models.saved_models import make_workspace, png
from tests.models.serving.test_prediction_store import served

SIDE = 32


def all_of_it(pixels: np.ndarray) -> list[masking.Region]:
    return [(0, 0, SIDE, SIDE)]


def broken(pixels: np.ndarray) -> list[masking.Region]:
    raise ImportError("No module named 'cv2'")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Context]]:
    workspace, engine = make_workspace(tmp_path / "work")
    writer = SegmentWriter(workspace.traffic)
    writer.append([(served(0, png(0, SIDE)), png(0, SIDE))])
    writer.close()
    drain(engine, workspace.traffic)
    engine.dispose()
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    maskers: dict[str, Any] = {"all": all_of_it, "broken": broken}
    monkeypatch.setattr(masking, "MASKERS", {**masking.MASKERS, **maskers})
    for name in maskers:
        monkeypatch.setitem(fields_of("retention")["mask"].metadata[0].names, name, 1)

    def with_mask(name: str) -> Context:
        with (workspace.root / "hone.toml").open("a") as file:
            file.write(f'[retention]\nmask = "{name}"\n')
        return open_context()

    yield with_mask


def colours(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as image:
        side = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST))
    return len(np.unique(side.reshape(-1, 3), axis=0))


@pytest.mark.parametrize(("mask", "masked"), [("none", False), ("all", True)])
def test_a_picture_is_masked_by_the_policy(
    opened: Callable[[str], Context], mask: str, masked: bool
) -> None:
    ctx = opened(mask)
    strip = exemplar_strip(ctx, ["prediction-0"])
    [exemplar] = load_exemplars(ctx, ["prediction-0"])
    assert strip is not None and exemplar.picture.address is not None
    in_page = base64.b64decode(exemplar.picture.address.partition(",")[2])
    assert [colours(content) <= masking.CELLS**2 for content in (strip, in_page)] == [masked] * 2
    ctx.engine.dispose()


def test_what_cannot_be_masked_is_left_out(
    opened: Callable[[str], Context], capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = opened("broken")
    assert exemplar_strip(ctx, ["prediction-0"]) is None
    assert "the image of prediction-0 is not shown: NOT_MASKED: the masker 'broken' failed" in (
        capsys.readouterr().out
    )
    [exemplar] = load_exemplars(ctx, ["prediction-0"])
    assert exemplar.picture.address is None
    ctx.engine.dispose()
