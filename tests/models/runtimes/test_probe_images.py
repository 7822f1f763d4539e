"""Images for a probe: those given, else the newest that were served, else patterns."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.network.images import prepare
from models.registry.model_store import load_model
from models.runtimes import probe_images
from models.runtimes.probe_images import given_images, images_at_hand, patterns
from models.serving.batcher import Inference
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter
from tests.models.saved_models import SIZE, make_workspace, png, save


def test_served_images_are_taken_as_the_service_decodes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.images import decode_inspected, inspect_image

    workspace, engine = make_workspace(tmp_path / "workspace")
    loaded = load_model(engine, workspace.bento_home, save(workspace, engine))
    writer = SegmentWriter(workspace.traffic)
    inference = Inference(lambda: ActiveModel(loaded), writer, needs_review_below=0.5, threads=1)
    inference.ask("request", [png(1), png(2)]).result(timeout=60)
    inference.close()
    writer.close()
    few = images_at_hand(workspace.traffic, SIZE)
    assert (few.real, few.words, len(few.pixels)) == (False, "made images", probe_images.MADE)
    monkeypatch.setattr(probe_images, "ENOUGH", 2)
    taken = images_at_hand(workspace.traffic, SIZE)
    assert (taken.real, taken.words) == (True, "served images")
    expected = [prepare(decode_inspected(inspect_image(png(seed))), SIZE) for seed in (1, 2)]
    assert torch.equal(taken.pixels, torch.stack(expected))


def test_patterns_are_seeded_and_differ(tmp_path: Path) -> None:
    made = patterns(8, 12)
    assert (made.shape, made.dtype) == ((8, 3, 12, 12), torch.uint8)
    assert torch.equal(made, patterns(8, 12))
    assert len(np.unique(made.numpy().reshape(8, -1), axis=0)) == 8
    assert not images_at_hand(tmp_path / "nowhere", 12).real


def test_given_images_are_read_without_running_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "images.npy").open("w+b") as file:
        np.save(file, patterns(3, 12).numpy())
        file.flush()
        given = given_images(os.dup(file.fileno()))
        assert not given.real  # of so few nobody knows how often labels differ
        monkeypatch.setattr(probe_images, "ENOUGH", 3)
        assert given_images(os.dup(file.fileno())).real
    assert torch.equal(given.pixels, patterns(3, 12))
