"""Images of the traffic are erased for good, once it is decided, whenever the process is killed."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from core.database import connect, writing
from core.locks import only_writer
from models.serving import erasures
from models.serving.checks import (
    erased_images_are_gone,
    predictions_are_as_served,
    served_images_are_whole,
    served_records_are_stored,
)
from models.serving.earlier_answers import EarlierAnswers
from models.serving.erasures import AGE, THINNING, carry_out, decide, drawn_by_chance, retain
from models.serving.prediction_store import drain, predictions, read_served_image
from models.serving.retention import RetentionPolicy, in_share
from models.serving.segments import SegmentWriter
from tests.models.serving.test_prediction_store import served, template  # noqa: F401 - fixture

IMAGES = [f"image {number}".encode() * 700 for number in range(12)]
THIN = RetentionPolicy(random_share=0.3, uncertain_below=0.0)


class Killed(BaseException):
    """In the place of a kill."""


@pytest.fixture
def engine(template: Path, tmp_path: Path) -> Engine:  # noqa: F811
    shutil.copy(template, tmp_path / "hone.sqlite")
    return connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> Path:
    """A segment of twelve answers that no rule but chance retains, drained."""
    traffic = tmp_path / "traffic"
    writer = SegmentWriter(traffic)
    for number, image in enumerate(IMAGES):
        one = vars(served(number, image)) | {"needs_review": False}
        writer.append([(type(served(0, b""))(**one), image)])
    writer.close()
    assert drain(engine, traffic) == len(IMAGES)
    return traffic


def erase(engine: Engine, folder: Path, policy: RetentionPolicy, why: str, last: int = 12) -> int:
    with only_writer(engine, "retention") as token:
        with writing(engine) as connection:
            decide(connection, policy, who="ann", why=why, after=0, last=last)
        return carry_out(engine, token, folder)


def in_hand(engine: Engine, folder: Path) -> list[bytes]:
    images = []
    with engine.connect() as connection:
        for row in connection.execute(select(predictions).order_by(predictions.c.seq)):
            try:
                images.append(read_served_image(folder, row))
            except (OSError, ValueError) as error:
                assert (row.erased is not None and "erased" in str(error)) or not folder.exists()
    return images


def problems(engine: Engine, folder: Path) -> list[str]:
    class Place:
        traffic = folder

    checks: tuple[Any, ...] = (
        served_images_are_whole, served_records_are_stored, predictions_are_as_served,
        erased_images_are_gone,
    )  # fmt: skip
    return [one.what for check in checks for one in check(engine, Place())]


def test_a_thinning_leaves_what_is_retained_and_every_record(engine: Engine, folder: Path) -> None:
    with writing(engine) as connection:
        last, ids = retain(connection, THIN, after=0, limit=100)
    assert last == 12 and 0 < len(ids) < 12
    size = sum(path.stat().st_size for path in folder.glob("*.seg"))
    assert erase(engine, folder, THIN, THINNING) == 12 - len(ids)
    left = in_hand(engine, folder)
    assert left == [IMAGES[int(name.removeprefix("prediction-"))] for name in ids]
    [segment] = folder.glob("*.seg")
    content = segment.read_bytes()
    assert [image for image in IMAGES if image in content] == left
    assert len(content) == size
    assert problems(engine, folder) == []
    earlier = EarlierAnswers(folder)
    assert all(earlier.prediction(f"prediction-{number}") for number in range(12))
    assert erase(engine, folder, THIN, THINNING) == 0, "nothing is erased twice"
    with engine.connect() as connection:
        [erasure] = connection.execute(select(erasures.erasures)).all()
        names = {row.sample_id for row in connection.execute(select(predictions))}
        assert drawn_by_chance(connection, names) == {n for n in names if in_share(n, 0.3)}
    assert (erasure.who, erasure.why, erasure.images) == ("ann", THINNING, 12 - len(ids))
    assert erasure.rule["random_share"] == 0.3 and erasure.done_at >= erasure.decided_at


def test_the_space_of_erased_images_is_given_back(engine: Engine, tmp_path: Path) -> None:
    traffic, image = tmp_path / "traffic", os.urandom(2**21)
    writer = SegmentWriter(traffic)
    writer.append([(served(0, image), image), (served(1, b"small"), b"small")])
    drain(engine, traffic)  # its writer lives, so the file stays
    [segment] = traffic.glob("*.seg")
    before = segment.stat().st_blocks
    erase(engine, traffic, RetentionPolicy(days=1), AGE, last=1)
    if segment.stat().st_blocks == before:
        pytest.skip("this file system makes no holes")
    assert segment.stat().st_blocks * 512 < 2**20
    writer.append([(served(2, b"more"), b"more")])
    writer.close()
    assert drain(engine, traffic) == 1
    assert in_hand(engine, traffic) == [b"small", b"more"]


def test_age_spares_nothing_and_a_segment_without_images_goes(engine: Engine, folder: Path) -> None:
    with writing(engine) as connection:
        retain(connection, THIN, after=0, limit=100)
    erase(engine, folder, THIN, THINNING)
    erase(engine, folder, THIN, AGE, last=6)
    assert len(list(folder.glob("*.seg"))) == 1
    assert in_hand(engine, folder) == [
        image for number, image in enumerate(IMAGES) if number >= 6
        and in_share(served(number, image).sample_id, 0.3)
    ]  # fmt: skip
    erase(engine, folder, THIN, AGE)
    assert list(folder.glob("*.seg")) == []
    assert problems(engine, folder) == []
    with engine.connect() as connection:
        assert len(connection.execute(select(predictions.c.label)).all()) == 12


@pytest.mark.parametrize("where", ["_erase", "overwrite", "_remove_if_spent"])
def test_a_kill_at_any_step_leaves_what_the_next_run_finishes(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patched:
        act = getattr(erasures, where)

        def killed(*given: Any) -> None:
            if where == "overwrite":
                act(given[0], given[1][:3])
            raise Killed

        patched.setattr(erasures, where, killed)
        with pytest.raises(Killed):
            erase(engine, folder, RetentionPolicy(days=1), AGE, last=11)
    with engine.connect() as connection:
        marked = connection.scalars(select(predictions.c.erased)).all()
    assert marked.count(1) == 11, "no image of it is read from then on"
    with only_writer(engine, "retention") as token:
        assert carry_out(engine, token, folder) == 11
        assert carry_out(engine, token, folder) == 0
    assert in_hand(engine, folder) == [IMAGES[11]]
    assert problems(engine, folder) == []


def test_an_image_that_comes_back_is_named_and_erased_again(engine: Engine, folder: Path) -> None:
    [segment] = folder.glob("*.seg")
    backup = segment.read_bytes()
    erase(engine, folder, RetentionPolicy(days=1), AGE, last=2)
    segment.write_bytes(backup)
    assert [what[:26] for what in problems(engine, folder)] == [
        "prediction prediction-0: i", "prediction prediction-1: i",
    ]  # fmt: skip
    erasures.erase_again(engine, folder)
    assert problems(engine, folder) == []
    assert len(in_hand(engine, folder)) == 10


def test_a_segment_that_a_person_moved_away_holds_up_no_erasure(
    engine: Engine, folder: Path
) -> None:
    shutil.rmtree(folder)
    assert erase(engine, folder, RetentionPolicy(days=1), AGE) == 12


def test_an_image_that_comes_again_after_its_erasure_is_retained_anew(
    engine: Engine, folder: Path
) -> None:
    unsure = RetentionPolicy(random_share=1e-9, uncertain_below=1.0)
    image = IMAGES[0]

    def again(number: int) -> list[str]:
        writer = SegmentWriter(folder)
        writer.append([(served(number, image), image)])
        writer.close()
        drain(engine, folder)
        with writing(engine) as connection:
            return retain(connection, unsure, after=number, limit=10)[1]

    with writing(engine) as connection:
        assert "prediction-0" in retain(connection, unsure, after=0, limit=12)[1]
    assert again(12) == []
    erase(engine, folder, RetentionPolicy(days=1), AGE, last=13)
    assert again(13) == ["prediction-13"]


def test_exemplars_are_retained_whatever_chance_decides(engine: Engine, folder: Path) -> None:
    lost = [
        f"prediction-{number}" for number, image in enumerate(IMAGES)
        if not in_share(served(number, image).sample_id, 0.3)
    ][:2]  # fmt: skip
    with writing(engine) as connection:
        retain(connection, THIN, after=0, limit=100)
        erasures.retain_named(connection, dict.fromkeys([*lost, "unknown"], "exemplar"))
        erasures.retain_named(connection, dict.fromkeys(lost, "exemplar"))
        assert erasures.retained_of(connection, lost) == set(lost)
    erase(engine, folder, THIN, THINNING)
    images = in_hand(engine, folder)
    assert {IMAGES[int(name.removeprefix("prediction-"))] for name in lost} <= set(images)


def test_an_image_that_was_recorded_twice_is_erased_in_both_places(
    engine: Engine, folder: Path
) -> None:
    [first] = folder.glob("*.seg")
    writer = SegmentWriter(folder)
    writer.append([(served(0, IMAGES[0]), IMAGES[0]), (served(99, b"other"), b"other")])
    assert drain(engine, folder) == 1
    [second] = {*folder.glob("*.seg")} - {first}
    backup = second.read_bytes()
    erase(engine, folder, RetentionPolicy(days=1), AGE, last=1)
    assert not any(IMAGES[0] in path.read_bytes() for path in (first, second))
    assert problems(engine, folder) == []
    second.write_bytes(backup)
    assert [what[:26] for what in problems(engine, folder)] == ["prediction prediction-0: i"]
    erasures.erase_again(engine, folder)
    assert problems(engine, folder) == []
    assert len(in_hand(engine, folder)) == 12 and b"other" in second.read_bytes()
    writer.close()


def test_a_copy_that_no_drain_recorded_is_named_and_erased(engine: Engine, folder: Path) -> None:
    [first] = folder.glob("*.seg")
    shutil.copy(first, first.with_name(f"copy-{first.name}"))
    erase(engine, folder, RetentionPolicy(days=1), AGE, last=2)
    named = [what for what in problems(engine, folder) if "was erased" in what]
    assert [what[:23] for what in named] == ["prediction prediction-0", "prediction prediction-1"]
    assert all(f"copy-{first.name}" in what for what in named)
    erasures.erase_again(engine, folder)
    assert [what for what in problems(engine, folder) if "was erased" in what] == []
    copied = first.with_name(f"copy-{first.name}").read_bytes()
    assert [image in copied for image in IMAGES] == [False] * 2 + [True] * 10
