"""Images that a check names are on the page; what is erased or damaged is said to be missing."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import update

from core.database import writing
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from models.watching.decisions import decisions
from settings import Settings
from tasks.context import Context, open_context
from tasks.report.html.exemplars import exemplar_pictures, load_exemplars
from tasks.report.html.gather import gather
from tests.models.saved_models import make_workspace, png
from tests.models.serving.test_prediction_store import served
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.mark.parametrize(("side", "shown", "kind"), [(20, 20, "png"), (600, 128, "jpeg")])
def test_a_picture_is_small_and_shows_the_image(
    tmp_path: Path, side: int, shown: int, kind: str
) -> None:
    workspace, engine = make_workspace(tmp_path / "work")
    ctx = Context(Settings(), workspace, engine)
    workspace.traffic.mkdir(exist_ok=True)
    writer = SegmentWriter(workspace.traffic)
    images = [png(1, side), b"no image"]
    for number, image in enumerate(images):
        writer.append([(served(number, image), image)])
    writer.close()
    drain(engine, workspace.traffic)
    first, second = load_exemplars(ctx, ["prediction-0", "prediction-1", "unknown"])
    assert (first.label, first.confidence, second.picture.address) == ("cat", 0.75, None)
    head, content = str(first.picture.address).split(",")
    assert head == f"data:image/{kind};base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (shown, shown)
    page = exemplar_pictures([first, second], "Images")
    assert "no picture" in page and "(2 images)" in page
    for path in workspace.traffic.glob("*.seg"):
        path.unlink()
    assert [one.picture.address for one in load_exemplars(ctx, ["prediction-0"])] == [None]


def test_the_newest_decision_that_names_images_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    ctx = open_context()
    assert gather(ctx, days=30).exemplars == []
    with writing(ctx.engine) as connection:
        connection.execute(update(decisions).values(exemplars=["prediction-1", "prediction-0"]))
    names = [one.prediction_id for one in gather(ctx, days=30).exemplars]
    ctx.engine.dispose()
    assert names == ["prediction-1", "prediction-0"]
