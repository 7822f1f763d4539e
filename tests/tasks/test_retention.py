"""The policy `[retention]` at work: what becomes a sample, what is erased, and when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from core import masking
from core.configuration import fields_of
from core.database import now, writing
from core.images import decode_image
from core.shards import read_image
from core.workspace import Workspace
from labeling.ledger.tables import location_of, samples
from models.serving.erasures import erasures, retained_images
from models.serving.prediction_store import predictions, read_served_image
from models.serving.retention import in_share
from models.serving.segments import SegmentWriter
from models.watching.alerts import is_open
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.signals import Action
from tasks import ingest
from tasks.context import open_context
from tasks.ingest import adopt_traffic
from tasks.retention import decide_retained, erase_images
from tasks.watch.retention import apply_retention
from tests.models.saved_models import make_workspace, png, put_in_service, save
from tests.models.serving.test_prediction_store import served

COUNT = 12
POLICY = "random_share = 0.3\nuncertain_below = 0.6\n"


def policy(workspace: Workspace, text: str) -> None:
    path = workspace.root / "hone.toml"
    path.write_text(f"{path.read_text().partition('[audit]')[0]}[audit]\nshare = 0.0001\n{text}")


def serve(workspace: Workspace, numbers: range, **about: Any) -> list[str]:
    """Sure answers, served now; the ids of those that chance does not retain."""
    writer = SegmentWriter(workspace.traffic)
    for number in numbers:
        answer = vars(served(number, png(number)))
        answer |= {"needs_review": False, "confidence": 0.9, "served_at": now(), **about}
        writer.append([(type(served(0, b""))(**answer), png(number))])
    writer.close()
    return [f"prediction-{n}" for n in numbers if not in_share(served(n, png(n)).sample_id, 0.3)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Engine]:
    workspace, engine = make_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    policy(workspace, f"[retention]\n{POLICY}")
    return workspace, engine


def checked(engine: Engine, last: int, *exemplars: str) -> None:
    """A check of the traffic by the champion up to this prediction."""
    with writing(engine) as connection:
        made = Evaluation(
            "hone:0001-a", 1, last, Action.NONE, "note", "no drift", exemplars=list(exemplars)
        )
        record_evaluation(connection, made)


def readable(place: tuple[Workspace, Engine]) -> set[str]:
    names = set()
    with place[1].connect() as connection:
        for row in connection.execute(select(predictions)):
            try:
                read_served_image(place[0].traffic, row)
            except (OSError, ValueError):
                assert row.erased is not None
            else:
                names.add(row.prediction_id)
    return names


def sample_ids(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(samples.c.sample_id)))


@pytest.fixture
def champion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.retention.champion", lambda engine: "hone:0001-a")


def test_what_is_not_retained_becomes_no_sample_and_is_erased_after_the_check(
    place: tuple[Workspace, Engine], champion: None, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = serve(place[0], range(COUNT))
    unsure = serve(place[0], range(COUNT, COUNT + 1), confidence=0.5)
    names = {f"prediction-{n}" for n in range(COUNT + 1)}
    assert 0 < len(lost) < COUNT
    assert adopt_traffic.fn() == COUNT + 1 - len(lost)
    assert sample_ids(place[1]) == {
        served(n, png(n)).sample_id for n in range(COUNT + 1) if f"prediction-{n}" not in lost
    }
    assert apply_retention.fn() == 0, "no check has looked at them"
    assert readable(place) == names
    checked(place[1], COUNT + 1, lost[0])
    assert apply_retention.fn() == len(lost) - 1
    assert f"{len(lost) - 1} images of the traffic erased" in capsys.readouterr().out
    assert readable(place) == names - set(lost[1:])
    assert served(int(lost[0][11:]), png(int(lost[0][11:]))).sample_id in sample_ids(place[1])
    assert apply_retention.fn() == 0
    with place[1].connect() as connection:
        why = dict(
            connection.execute(select(*retained_images.c["prediction_id", "why"])).tuples().all()
        )
    assert why[lost[0]] == "exemplar"
    if unsure:
        assert why[unsure[0]] == "uncertain"


def retained_beside(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        beside = retained_images.c.why != "chance"
        return list(connection.scalars(select(retained_images.c.prediction_id).where(beside)))


@pytest.mark.parametrize("between", ["a decision", "an intake", "the image's end"])
def test_one_copy_of_an_unsure_image_is_retained_however_often_it_is_served(
    place: tuple[Workspace, Engine], between: str
) -> None:
    """A camera that sends the same frame all day would use up the quota of every hour."""
    content = next(png(n) for n in range(COUNT) if not in_share(served(n, png(n)).sample_id, 0.3))

    def again(number: int) -> None:
        moment = now() if number else "2026-01-01T00:00:00.000000+00:00"
        unsure = replace(
            served(number, content), confidence=0.5, needs_review=False, served_at=moment
        )
        writer = SegmentWriter(place[0].traffic)
        writer.append([(unsure, content)])
        writer.close()
        ingest.prediction_store.drain(place[1], place[0].traffic)
        decide_retained(open_context())

    again(0)
    if between != "a decision":
        assert adopt_traffic.fn() == 1
    if between == "the image's end":
        policy(place[0], f"[retention]\n{POLICY}days = 1\n")
        assert erase_images(open_context(), "ann") == {"age": 1}
    again(1)
    again(2)
    assert retained_beside(place[1]) == ["prediction-0"]


def test_images_that_are_a_day_old_wait_for_no_check(place: tuple[Workspace, Engine]) -> None:
    lost = serve(place[0], range(COUNT), served_at="2026-01-01T00:00:00.000000+00:00")
    ingest.prediction_store.drain(place[1], place[0].traffic)
    assert erase_images(open_context(), "ann") == {"thinning": len(lost)}


def test_after_so_many_days_no_image_of_the_traffic_is_left(
    place: tuple[Workspace, Engine],
) -> None:
    policy(place[0], "[retention]\ndays = 30\n")
    serve(place[0], range(3), served_at="2026-01-01T00:00:00.000000+00:00")
    serve(place[0], range(3, 5))
    assert adopt_traffic.fn() == 5
    assert erase_images(open_context(), "ann") == {"age": 3}
    assert readable(place) == {"prediction-3", "prediction-4"}
    assert len(list(place[0].traffic.glob("*.seg"))) == 1
    assert len(sample_ids(place[1])) == 5
    with place[1].connect() as connection:
        [row] = connection.execute(select(erasures)).all()
    assert (row.who, row.why, row.images) == ("ann", "age", 3)


def use_masker(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, masker: masking.Masker
) -> None:
    monkeypatch.setattr(masking, "MASKERS", {**masking.MASKERS, "corner": masker})
    monkeypatch.setitem(fields_of("retention")["mask"].metadata[0].names, "corner", 1)
    policy(workspace, '[retention]\nmask = "corner"\n')


def test_masked_images_take_the_place_of_those_received(
    place: tuple[Workspace, Engine], champion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_masker(place[0], monkeypatch, lambda pixels: [(0, 0, 8, 8)])
    serve(place[0], range(3))
    assert adopt_traffic.fn() == 3
    checked(place[1], 2)
    assert erase_images(open_context(), "ann") == {"masked": 2}
    assert readable(place) == {"prediction-2"}
    with place[1].connect() as connection:
        rows = connection.execute(select(samples)).all()
    assert {row.sample_id for row in rows} == {served(n, png(n)).sample_id for n in range(3)}
    for row in rows:
        assert row.masked == {"by": "corner", "regions": [[0, 0, 9, 9]]}
        pixels = decode_image(read_image(place[0].shards, location_of(row)))
        assert len(np.unique(pixels[:9, :9].reshape(-1, 3), axis=0)) <= 16


def test_a_masker_that_does_not_work_erases_nothing_and_is_an_alert(
    place: tuple[Workspace, Engine], champion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pixels: np.ndarray) -> list[masking.Region]:
        raise ImportError("No module named 'cv2'")

    use_masker(place[0], monkeypatch, broken)
    serve(place[0], range(3))
    with pytest.raises(masking.MaskerFails, match=r"'cv2'.*opencv-python-headless"):
        adopt_traffic.fn()
    checked(place[1], 3)
    for _ in range(2):
        assert apply_retention.fn() == 0
    assert readable(place) == {"prediction-0", "prediction-1", "prediction-2"}
    with place[1].connect() as connection:
        assert is_open(connection, "masker")
    use_masker(place[0], monkeypatch, lambda pixels: [(0, 0, 8, 8)])
    assert adopt_traffic.fn() == 3
    assert apply_retention.fn() == 3
    with place[1].connect() as connection:
        assert not is_open(connection, "masker")


def test_an_image_that_cannot_be_masked_is_not_erased_as_masked(
    place: tuple[Workspace, Engine], champion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = decode_image(png(1))

    def fails_at_one(pixels: np.ndarray) -> list[masking.Region]:
        if np.array_equal(pixels, odd):
            raise ValueError("an odd image")
        return []

    use_masker(place[0], monkeypatch, fails_at_one)
    serve(place[0], range(3))
    assert adopt_traffic.fn() == 2
    checked(place[1], 3)
    assert erase_images(open_context(), "ann") == {"masked": 2}
    assert readable(place) == {"prediction-1"}


def test_without_a_policy_nothing_is_erased(place: tuple[Workspace, Engine]) -> None:
    policy(place[0], "")
    serve(place[0], range(3), served_at="2026-01-01T00:00:00.000000+00:00")
    assert adopt_traffic.fn() == 3
    assert apply_retention.fn() == 0
    with place[1].connect() as connection:
        assert connection.execute(select(retained_images)).all() == []


def test_the_service_and_its_watch_go_on_beside_a_new_champion(
    place: tuple[Workspace, Engine],
) -> None:
    """A champion that no check has looked at yet erases nothing that its first check needs."""
    put_in_service(place[1], save(*place))
    serve(place[0], range(COUNT))
    adopt_traffic.fn()
    assert apply_retention.fn() == 0
