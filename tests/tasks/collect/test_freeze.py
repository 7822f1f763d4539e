"""A snapshot is announced once, and only if it can be trained on and somebody listens."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from labeling.quality.student import TrainPolicy
from labeling.snapshots.table import SnapshotConfig
from tasks.collect import freeze
from tasks.context import Context
from tasks.events import EventName
from tests.tasks.labelled_folders import import_images, new_workspace

Events = list[tuple[EventName, dict[str, str]]]


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Events:
    """The events that a Prefect server would have taken, in a new workspace."""
    new_workspace(tmp_path, monkeypatch)
    taken: Events = []

    def take(ctx: Context, name: EventName, payload: Mapping[str, str] | None = None) -> bool:
        taken.append((name, dict(payload or {})))
        return True

    monkeypatch.setattr(freeze, "emit", take)
    return taken


def cut() -> str | None:
    name: str | None = freeze.freeze_labels.fn(SnapshotConfig(), TrainPolicy(), every=1)
    return name


def test_a_snapshot_of_gold_alone_wakes_nothing_and_says_so(
    events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(tmp_path / "gold", gold=True, cat=2, dog=2)
    assert cut() == "snapshot-0001"
    capsys.readouterr()
    assert freeze.announce_snapshot.fn() is None
    assert capsys.readouterr().out == (
        "snapshot-0001 starts no training: none of the 4 rows is in split 'train' (splits: held), "
        "for audit samples and gold are never trained on; label more samples and cut a new "
        "snapshot\n"
    )
    assert freeze.announce_snapshot.fn() is None
    assert capsys.readouterr().out == "", "once is enough"
    assert events == []


def test_a_snapshot_of_one_class_wakes_nothing_and_one_of_two_does_once(
    events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(tmp_path / "cats", cat=3)
    assert cut() == "snapshot-0001"
    assert freeze.announce_snapshot.fn() is None
    assert "have the label 'cat', and two classes are needed" in capsys.readouterr().out

    import_images(tmp_path / "dogs", dog=3)
    assert cut() == "snapshot-0002"
    assert freeze.announce_snapshot.fn() == "snapshot-0002"
    assert freeze.announce_snapshot.fn() is None
    assert events == [(EventName.LABELS_READY, {"snapshot": "snapshot-0002"})]


def test_a_snapshot_that_no_server_heard_of_is_announced_when_there_is_one(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_images(tmp_path / "images", cat=3, dog=3)
    assert cut() == "snapshot-0001"
    with monkeypatch.context() as without:
        without.setattr(freeze, "emit", lambda *_: False)
        assert freeze.announce_snapshot.fn() is None
    assert freeze.announce_snapshot.fn() == "snapshot-0001"
    assert len(events) == 1
