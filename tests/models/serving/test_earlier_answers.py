"""Records of a request, looked up in the segments of every worker."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import pytest

from models.serving import earlier_answers
from models.serving.earlier_answers import EarlierAnswers
from models.serving.requests import RequestError
from models.serving.segments import SegmentWriter, Served, prediction_id


def record(
    request_id: str, *images: bytes, model: str = "hone:0001-a"
) -> list[tuple[Served, bytes]]:
    found = []
    for position, image in enumerate(images):
        sample = hashlib.sha256(image).hexdigest()
        name = prediction_id(request_id, position, sample, model)
        served = Served(name, request_id, model, sample, "cat", 0.5, [0.5, 0.5], False, "now")
        found.append((served, image))
    return found


def lookup(earlier: EarlierAnswers, request_id: str, *images: bytes) -> list[int]:
    return sorted(earlier.records(request_id, images))


def test_records_of_other_workers_are_read_as_they_grow(tmp_path: Path) -> None:
    earlier = EarlierAnswers(tmp_path)
    assert lookup(earlier, "r1", b"a") == []
    first, second = SegmentWriter(tmp_path), SegmentWriter(tmp_path)
    first.append(record("r1", b"a", b"b"))
    assert lookup(earlier, "r1", b"a", b"b") == [0, 1]
    second.append(record("r2", b"c"))
    first.append(record("r3", b"a"))
    assert lookup(earlier, "r2", b"c") == [0]
    assert lookup(earlier, "r3", b"a") == [0]
    assert lookup(EarlierAnswers(tmp_path), "r2", b"c") == [0]


def test_every_segment_of_a_writer_is_read_to_its_end(tmp_path: Path) -> None:
    earlier = EarlierAnswers(tmp_path)
    writer = SegmentWriter(tmp_path, segment_bytes=1)
    writer.append(record("r0", b"a"))
    assert lookup(earlier, "r0", b"a") == [0]
    for number in range(1, 6):
        writer.append(record(f"r{number}", b"a"))
    assert [lookup(earlier, f"r{number}", b"a") for number in range(6)] == [[0]] * 6


def test_a_prediction_of_any_worker_is_known_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, first = EarlierAnswers(tmp_path), SegmentWriter(tmp_path)
    one, two = record("r1", b"a", b"b")
    assert earlier.prediction(two[0].prediction_id) is None
    first.append([one, two])
    SegmentWriter(tmp_path).append(record("r2", b"c"))
    [three] = record("r2", b"c")
    for served, _ in (one, two, three):
        known = earlier.prediction(served.prediction_id)
        assert known is not None and known.fields["prediction_id"] == served.prediction_id
    monkeypatch.setattr(earlier_answers, "REMEMBERED", 1)
    fresh = EarlierAnswers(tmp_path)
    assert fresh.prediction(three[0].prediction_id) is not None, "the newest is remembered"
    assert fresh.prediction(one[0].prediction_id) is None
    max(tmp_path.glob("*.seg")).unlink()
    assert fresh.prediction(three[0].prediction_id) is None


def test_other_images_under_the_id_are_refused(tmp_path: Path) -> None:
    SegmentWriter(tmp_path).append(record("r1", b"a"))
    with pytest.raises(RequestError, match="r1 came with other images before"):
        EarlierAnswers(tmp_path).records("r1", [b"b"])


def test_a_request_cut_short_is_known_in_part_and_then_as_a_whole(tmp_path: Path) -> None:
    earlier, writer = EarlierAnswers(tmp_path), SegmentWriter(tmp_path)
    writer.append(record("r1", b"a", b"b")[:1])
    assert lookup(earlier, "r1", b"a", b"b") == [0]
    SegmentWriter(tmp_path).append(record("r1", b"a", b"b", model="hone:0002-b")[1:])
    found = earlier.records("r1", [b"a", b"b"])
    assert [found[place].fields["model"] for place in (0, 1)] == ["hone:0001-a", "hone:0002-b"]


def test_a_torn_or_damaged_place_hides_nothing_behind_it(tmp_path: Path) -> None:
    earlier, writer = EarlierAnswers(tmp_path), SegmentWriter(tmp_path)
    writer.append(record("r1", b"a"))
    [path] = tmp_path.glob("*.seg")
    size = path.stat().st_size
    writer.append(record("r2", b"b"))
    whole = path.read_bytes()
    os.truncate(path, size + 40)
    assert lookup(earlier, "r2", b"b") == []
    path.write_bytes(whole)
    assert lookup(earlier, "r2", b"b") == [0]
    path.write_bytes(b"x" + whole[1:])
    assert lookup(EarlierAnswers(tmp_path), "r2", b"b") == [0]


def test_only_so_many_requests_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_answers, "REMEMBERED", 5)
    writer = SegmentWriter(tmp_path, segment_bytes=1)
    earlier = EarlierAnswers(tmp_path)
    for number in range(20):
        writer.append(record(f"r{number}", b"a"))
        lookup(earlier, "none")
    for one in (earlier, EarlierAnswers(tmp_path)):
        known = [number for number in range(20) if lookup(one, f"r{number}", b"a")]
        assert known == [15, 16, 17, 18, 19]


def test_a_segment_that_was_moved_away_is_let_go(tmp_path: Path) -> None:
    earlier, writer = EarlierAnswers(tmp_path), SegmentWriter(tmp_path)
    writer.append(record("r1", b"a"))
    assert lookup(earlier, "r1", b"a") == [0]
    [path] = tmp_path.glob("*.seg")
    path.unlink()
    assert lookup(earlier, "r1", b"a") == []


def test_a_worker_waits_for_an_id_that_another_one_holds_until_that_one_dies(
    tmp_path: Path,
) -> None:
    def hold() -> None:
        async def claim() -> None:
            async with EarlierAnswers(tmp_path).claimed("r1"):
                os.write(ready, b"x")
                signal.pause()

        asyncio.run(claim())

    held, ready = os.pipe()
    child = os.fork()
    if child == 0:
        hold()
    os.read(held, 1)

    async def wait() -> list[str]:
        order = []
        earlier = EarlierAnswers(tmp_path)
        async with earlier.claimed("r2"):
            order.append("another id is free")

        async def claim() -> None:
            async with earlier.claimed("r1"):
                order.append("claimed")

        waiting = asyncio.create_task(claim())
        await asyncio.sleep(0.1)
        order.append("killed")
        os.kill(child, signal.SIGKILL)
        await waiting
        return order

    order = asyncio.run(wait())
    os.waitpid(child, 0)
    assert order == ["another id is free", "killed", "claimed"]
