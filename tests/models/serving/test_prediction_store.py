"""Served predictions: what was answered is there, once, with the bytes it was made from."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, insert, select, update

from core.database import connect, upgrade, writing
from core.locks import LockLost, locks
from models.scoring.predict import Predictions
from models.serving import prediction_store, segment_reader, segments
from models.serving.prediction_store import (
    as_recorded,
    drain,
    drain_again,
    find_prediction,
    predictions,
    predictions_of,
    read_served_image,
    recorded_predictions,
    segment_states,
    window,
)
from models.serving.segment_reader import Damage, Record, read_records, scan
from models.serving.segments import SegmentWriter, Served, half_precision


def served(number: int, image: bytes, model: str = "hone:0001-a") -> Served:
    return Served(
        prediction_id=f"prediction-{number}",
        request_id=f"request-{number}",
        model=model,
        sample_id=hashlib.sha256(image).hexdigest(),
        label="cat",
        confidence=0.75,
        probabilities=[0.75, 0.25],
        needs_review=True,
        served_at=f"2026-01-01T00:00:{number:09.6f}+00:00",
    )


def write(folder: Path, images: list[bytes], first: int = 0) -> Path:
    writer = SegmentWriter(folder)
    for number, image in enumerate(images, start=first):
        writer.append([(served(number, image), image)])
    writer.close()
    return max(folder.glob("*.seg"))


def damage(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(predictions)) or 0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, to be copied."""
    path = tmp_path_factory.mktemp("template") / "hone.sqlite"
    engine = connect(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


def new_engine(template: Path, folder: Path) -> Engine:
    return connect(f"sqlite:///{shutil.copy(template, folder / 'hone.sqlite')}")


@pytest.fixture
def engine(template: Path, tmp_path: Path) -> Engine:
    return new_engine(template, tmp_path)


def test_an_appended_prediction_is_found_with_its_image(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path, [b"first", b"second\nwith a line"])
    assert drain(engine, tmp_path) == 2
    row = find_prediction(engine, "prediction-1")
    assert row is not None
    assert read_served_image(tmp_path, row) == b"second\nwith a line"
    assert find_prediction(engine, "prediction-7") is None


def test_draining_twice_is_once(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path, [b"a", b"b"])
    assert [drain(engine, tmp_path), drain(engine, tmp_path)] == [2, 0]
    write(tmp_path, [b"c"], first=2)
    assert [drain(engine, tmp_path), drain(engine, tmp_path)] == [1, 0]
    assert count(engine) == 3


def test_a_copied_segment_adds_nothing(engine: Engine, tmp_path: Path) -> None:
    path = write(tmp_path, [b"a", b"b"])
    drain(engine, tmp_path)
    (tmp_path / f"restored-{path.name}").write_bytes(path.read_bytes())
    assert drain(engine, tmp_path) == 0
    assert count(engine) == 2


def test_the_same_prediction_appended_twice_is_one_row(engine: Engine, tmp_path: Path) -> None:
    """A retry under the same request id, served by another worker before either was drained."""
    write(tmp_path, [b"a"])
    write(tmp_path, [b"a"])
    assert drain(engine, tmp_path) == 1


def test_of_a_prediction_appended_twice_the_earlier_answer_is_stored(
    engine: Engine, tmp_path: Path
) -> None:
    later = replace(served(0, b"a"), served_at="2026-02-01T00:00:00.000000+00:00", label="dog")
    for answered in (later, served(0, b"a")):
        writer = SegmentWriter(tmp_path)
        writer.append([(answered, b"a")])
        writer.close()
    assert drain(engine, tmp_path) == 1
    assert window(engine)["label"].tolist() == ["cat"]


def test_a_drain_that_was_overtaken_stores_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [b"a"])

    def overtaken(path: Path, start: int) -> Iterator[Record | Damage]:
        with writing(engine) as connection:
            connection.execute(update(locks).values(token=locks.c.token + 1))
        return scan(path, start)

    monkeypatch.setattr(prediction_store, "scan", overtaken)
    with pytest.raises(LockLost):
        drain(engine, tmp_path)
    assert count(engine) == 0


def test_predictions_of_many_processes_come_in_order_of_time(
    engine: Engine, tmp_path: Path
) -> None:
    for start in (0, 1):
        writer = SegmentWriter(tmp_path)
        for number in range(start, 10, 2):
            writer.append([(served(number, b"x"), b"x")])
        writer.close()
    drain(engine, tmp_path)
    found = window(engine, after_seq=0, limit=100)
    assert list(found["seq"]) == list(range(1, 11))
    assert list(found["prediction_id"]) == [f"prediction-{number}" for number in range(10)]


def test_more_segments_than_are_read_at_once_are_all_drained(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_store, "OPEN_SEGMENTS", 2)
    monkeypatch.setattr(prediction_store, "CHUNK", 3)
    for number in range(5):
        write(tmp_path, [b"x", b"y"], first=2 * number)
    assert drain(engine, tmp_path) == 10
    assert not any(state.damage for state in segment_states(engine, tmp_path))


IMAGES = st.lists(st.binary(min_size=0, max_size=60), min_size=1, max_size=5)


@given(images=IMAGES, place=st.floats(0, 1))
def test_a_segment_cut_anywhere_drains_exactly_what_was_written_whole(
    images: list[bytes],
    place: float,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write(folder, images)
    whole = path.read_bytes()
    ends = [record.end for record in read_records(path)]
    cut = round(place * len(whole))
    path.write_bytes(whole[:cut])
    engine = new_engine(template, folder)
    expected = sum(end <= cut for end in ends)
    assert drain(engine, folder) == expected
    assert not any(isinstance(part, Damage) for part in scan(path))  # never answered
    path.write_bytes(whole)  # the rest arrives: a reader was only early
    assert drain(engine, folder) == len(images) - expected
    engine.dispose()


def test_every_cut_of_a_segment_reads_exactly_what_was_written_whole(tmp_path: Path) -> None:
    path = write(tmp_path, [b"one", b"", b"two\n"])
    ends = [record.end for record in read_records(path)]
    assert len(ends) == 3
    for cut in reversed(range(path.stat().st_size + 1)):
        os.truncate(path, cut)
        assert [record.end for record in read_records(path)] == [end for end in ends if end <= cut]


def test_a_flipped_bit_hides_the_record_it_is_in_and_no_other(tmp_path: Path) -> None:
    """Every bit of a segment, one at a time: what is not hit is read, what is hit is named."""
    images = [b"", b"second", b"third image"]
    path = write(tmp_path, images)
    content = path.read_bytes()
    spans = [(record.start, record.offset, record.end) for record in read_records(path)]
    for place in range(len(content)):
        start, image, end = next(span for span in spans if span[0] <= place < span[2])
        in_image = place >= image  # its SHA-256 is checked when it is read
        for bit in range(8):
            changed = bytes([content[place] ^ 1 << bit])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            parts = list(scan(path))
            whole = [part.start for part in parts if not isinstance(part, Damage)]
            assert whole == [one[0] for one in spans if in_image or one[0] != start]
            damage = [part for part in parts if isinstance(part, Damage)]
            assert damage == ([] if in_image else [Damage(path.name, start, end, 1)])


def test_the_drain_names_what_is_damaged_and_takes_the_rest(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, [b"%d" % number for number in range(100)])
    starts = [record.start for record in read_records(path)]
    damage(path, starts[3] + 20)
    assert drain(engine, tmp_path) == 99
    assert (
        "at least 1 served prediction cannot be read; the rest is taken" in capsys.readouterr().out
    )
    assert find_prediction(engine, "prediction-3") is None
    assert drain(engine, tmp_path) == 0


def test_the_number_of_records_lost_in_a_row_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, [b"%d" % number for number in range(10)])
    starts = [record.start for record in read_records(path)]
    path.write_bytes(path.read_bytes()[: starts[4]] + path.read_bytes()[starts[7] + 1 :])
    assert [part.records for part in scan(path) if isinstance(part, Damage)] == [4]


def test_an_image_that_holds_a_record_does_not_pass_for_one(engine: Engine, tmp_path: Path) -> None:
    """A client that knows the format does not know the marker of the segment."""
    other = write(tmp_path / "other", [b"forged"]).read_bytes()
    path = write(tmp_path, [other, b"after"])
    damage(path, 10)
    assert [record.fields["prediction_id"] for record in read_records(path)] == ["prediction-1"]


def test_a_marker_across_two_parts_of_the_search_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [b"x" * 50, b"second"])
    damage(path, 10)
    for size in range(8, 40):
        monkeypatch.setattr(segment_reader, "SEARCH_BYTES", size)
        assert len(list(read_records(path))) == 1


@given(content=st.binary(max_size=400), start=st.integers(0, 400))
def test_a_segment_of_anything_is_records_and_damage(
    content: bytes, start: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("0001-1-0123456789abcdef.seg", "0001-1-0123abcd.seg"):
        (folder / name).write_bytes(bytes.fromhex("0123456789abcdef") + content)
        assert all(isinstance(part, Damage) for part in scan(folder / name, start))


def test_a_segment_that_counts_as_drained_too_far_is_drained_again(
    engine: Engine, tmp_path: Path
) -> None:
    path = write(tmp_path, [b"a", b"b", b"c"])
    drain(engine, tmp_path)
    with writing(engine) as connection:
        connection.execute(delete(predictions).where(predictions.c.prediction_id != "prediction-0"))
    [state] = segment_states(engine, tmp_path)
    assert (state.lost, state.beyond, state.waiting) == (2, 0, 0)
    assert drain_again(engine, tmp_path) == 2
    os.truncate(path, path.stat().st_size - 7)
    [state] = segment_states(engine, tmp_path)
    assert (state.lost, state.beyond, state.waiting) == (0, 7, 0)


def test_a_prediction_that_was_recorded_twice_counts_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_store, "CHUNK", 2)
    writer = SegmentWriter(tmp_path)
    for number in (0, 1, 2, 0, 1):
        writer.append([(served(number, b"a"), b"a")])
    drain(engine, tmp_path)
    [state] = segment_states(engine, tmp_path)
    assert state.lost == 0


def test_what_was_not_drained_is_counted_with_its_age(engine: Engine, tmp_path: Path) -> None:
    path = write(tmp_path, [b"a", b"b"])
    [state] = segment_states(engine, tmp_path)
    assert (state.name, state.waiting) == (path.name, 2)
    assert state.waits_since == "2026-01-01T00:00:00.000000+00:00"


@pytest.mark.parametrize(
    "change",
    [{"label": None}, {"label": "a\0b"}, {"label": "\ud800"}, {"served_at": 5}, {"confidence": "1"},
     {"probabilities": None}, {"probabilities": [True]}, {"needs_review": 1}, {"embedding": "?"},
     {"embedding": 3}, {"prediction_id": ["a"]}, {"statistics": "?"}, {"source": 3}],
)  # fmt: skip
def test_a_record_that_nothing_of_ours_wrote_keeps_no_other_from_being_drained(
    engine: Engine, tmp_path: Path, change: dict[str, object]
) -> None:
    marker, image = bytes(range(8)), b"image"
    fields = [asdict(served(number, image)) | {"embedding": "AAAA"} for number in range(3)]
    fields[1] |= change
    texts = [json.dumps(one).encode() for one in fields]
    path = tmp_path / f"0-1-{marker.hex()}.seg"
    path.write_bytes(
        b"".join(segments._encode(marker, at, text, image) for at, text in enumerate(texts))
    )
    assert drain(engine, tmp_path) == 2
    [state] = segment_states(engine, tmp_path)
    assert [damage.records for damage in state.damage] == [1]


def test_fields_of_a_newer_version_are_left_aside(engine: Engine, tmp_path: Path) -> None:
    marker, fields = bytes(range(8)), asdict(served(0, b"image")) | {"embedding": None, "new": 1}
    text = json.dumps(fields).encode()
    path = tmp_path / f"0-1-{marker.hex()}.seg"
    path.write_bytes(segments._encode(marker, 0, text, b"image"))
    assert drain(engine, tmp_path) == 1


def test_what_is_no_file_is_no_segment(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path, [b"a"])
    (tmp_path / "folder.seg").mkdir()
    (tmp_path / "gone.seg").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.seg")
    assert drain(engine, tmp_path) == 1
    assert len(list(segment_states(engine, tmp_path))) == 1


def test_changed_image_bytes_are_refused(engine: Engine, tmp_path: Path) -> None:
    path = write(tmp_path, [b"honest"])
    drain(engine, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"honest", b"hornet"))
    with pytest.raises(ValueError, match="was served; the segment was changed"):
        read_served_image(tmp_path, find_prediction(engine, "prediction-0"))


def test_a_segment_name_with_a_path_is_not_opened(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path, [b"a"])
    drain(engine, tmp_path)
    row = window(engine, limit=1).iloc[0].copy()
    row["segment"] = "../elsewhere.seg"
    with pytest.raises(ValueError, match="is no file name"):
        read_served_image(tmp_path, row)


def test_a_full_segment_is_followed_by_a_new_one(engine: Engine, tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=1_000)
    for number in range(10):
        image = bytes([number]) * 300
        writer.append([(served(number, image), image)])
    writer.close()
    assert len(list(tmp_path.glob("*.seg"))) > 1
    assert drain(engine, tmp_path) == 10
    assert all(read_served_image(tmp_path, row) for row in window(engine).itertuples())


def test_an_append_comes_back_only_after_its_bytes_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many threads, few fsyncs, and none returns before an fsync that covers its bytes."""
    real, synced, lock = os.fdatasync, [], threading.Lock()

    def observed(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        real(descriptor)
        with lock:
            synced.append(size)

    monkeypatch.setattr(segments.os, "fdatasync", observed)
    writer, late = SegmentWriter(tmp_path), []

    def work(number: int) -> None:
        for step in range(20):
            image = f"{number}-{step}".encode() * 50
            record = served(number * 100 + step, image)
            writer.append([(record, image)])
            [path] = tmp_path.glob("*.seg")
            with lock:
                covered = max(synced)
            if not any(
                found.fields["prediction_id"] == record.prediction_id and found.end <= covered
                for found in read_records(path)
            ):
                late.append(record.prediction_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert late == []
    [path] = tmp_path.glob("*.seg")
    assert len(list(read_records(path))) == 160


def test_the_name_of_a_new_segment_is_on_disk_before_an_append_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []

    def observed(folder: Path) -> None:
        synced.append([path.name for path in folder.iterdir()])

    monkeypatch.setattr(segments, "sync_path", observed)
    path = write(tmp_path / "served", [b"a", b"b"])
    assert synced == [[path.name]]


def test_bytes_that_are_written_during_an_fsync_wait_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, real = segments._Segment(tmp_path / "a.seg", b"01234567"), os.fdatasync
    on_disk: list[int] = []
    tickets: list[int] = []

    def write_meanwhile(descriptor: int) -> None:
        on_disk.append(segment.size)
        real(descriptor)
        if len(on_disk) == 1:
            tickets.append(segment.write([(b"{}", b"b")]))

    monkeypatch.setattr(segments.os, "fdatasync", write_meanwhile)
    first = segment.write([(b"{}", b"a")])
    segment.sync(first)
    segment.sync(tickets[0])
    segment.close()
    assert on_disk == [first, tickets[0]]


def test_after_a_failed_fsync_every_append_to_the_segment_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports it once: a second fsync succeeds although the bytes are lost."""
    segment, real = segments._Segment(tmp_path / "a.seg", b"01234567"), os.fdatasync

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(segments.os, "fdatasync", failing)
    first, second = segment.write([(b"{}", b"a")]), segment.write([(b"{}", b"b")])
    with pytest.raises(OSError, match="Input/output"):
        segment.sync(first)
    monkeypatch.setattr(segments.os, "fdatasync", real)
    with pytest.raises(OSError, match="an earlier fsync failed"):
        segment.sync(second)


def test_a_failed_fsync_is_an_error_and_its_segment_is_left(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([(served(0, b"a"), b"a")])
    real = os.fdatasync

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(segments.os, "fdatasync", failing)
    with pytest.raises(OSError, match="Input/output"):
        writer.append([(served(1, b"b"), b"b")])
    monkeypatch.setattr(segments.os, "fdatasync", real)
    writer.append([(served(2, b"c"), b"c")])
    writer.close()
    assert len(list(tmp_path.glob("*.seg"))) == 2
    drain(engine, tmp_path)
    assert find_prediction(engine, "prediction-2") is not None


def test_a_full_disk_is_an_error_and_what_was_there_before_stays(
    engine: Engine, tmp_path: Path
) -> None:
    """`/dev/full` cannot take a segment's name, so a limit on the file's size stands in for it."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = SegmentWriter(tmp_path)
    writer.append([(served(0, b"a"), b"a")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.append([(served(1, b"b" * 100_000), b"b" * 100_000)])
        writer.append([(served(2, b"c"), b"c")])
        for _ in range(3):
            with pytest.raises(OSError, match="too large"):
                writer.append([(served(3, b"d" * 100_000), b"d" * 100_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.close()
    assert drain(engine, tmp_path) == 2
    assert find_prediction(engine, "prediction-1") is None


def test_an_empty_segment_of_a_killed_service_is_removed_by_the_drain(
    engine: Engine, tmp_path: Path
) -> None:
    """A child is killed between the name of its segment and its first record."""
    child = os.fork()
    if not child:
        SegmentWriter(tmp_path)._begun()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (killed,) = tmp_path.glob("*.seg")
    living = SegmentWriter(tmp_path)
    living._segment = living._begun()
    assert drain(engine, tmp_path) == 0
    assert killed.exists()  # it might be a copy that is being made
    for path in tmp_path.glob("*.seg"):
        os.utime(path, (0, 0))
    assert drain(engine, tmp_path) == 0
    assert not killed.exists() and len(list(tmp_path.glob("*.seg"))) == 1
    living.append([(served(0, b"a"), b"a")])
    assert drain(engine, tmp_path) == 1


def test_a_drain_that_removes_a_segment_before_its_lock_leaves_the_service_another(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    locked: list[Path] = []

    def late(file: FileIO, how: int) -> None:
        if how == fcntl.LOCK_EX and not locked:
            locked.append(Path(str(file.name)))
            os.utime(locked[0], (0, 0))
            drain(engine, tmp_path)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write(tmp_path, [b"a"])
    assert not locked[0].exists()
    assert drain(engine, tmp_path) == 1


def test_nothing_is_acknowledged_in_a_segment_that_somebody_deleted(
    engine: Engine, tmp_path: Path
) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([(served(0, b"a"), b"a")])
    next(tmp_path.glob("*.seg")).unlink()
    with pytest.raises(OSError, match="was deleted while it was written"):
        writer.append([(served(1, b"b"), b"b")])
    writer.append([(served(1, b"b"), b"b")])
    assert drain(engine, tmp_path) == 1


def test_a_window_goes_on_after_the_last_one_and_knows_its_model(
    engine: Engine, tmp_path: Path
) -> None:
    writer = SegmentWriter(tmp_path)
    for number in range(6):
        model = "hone:0002-b" if number % 2 else "hone:0001-a"
        writer.append([(replace(served(number, b"x"), model=model), b"x")])
    writer.close()
    drain(engine, tmp_path)
    first = window(engine, "hone:0002-b", limit=2)
    assert list(first["prediction_id"]) == ["prediction-1", "prediction-3"]
    assert first["probabilities"].tolist() == [[0.75, 0.25]] * 2
    rest = window(engine, "hone:0002-b", after_seq=int(first["seq"].max()))
    assert list(rest["prediction_id"]) == ["prediction-5"]
    assert window(engine, "hone:0003-c").empty


def test_a_window_of_nothing_is_empty(engine: Engine, tmp_path: Path) -> None:
    assert drain(engine, tmp_path / "not-there") == 0
    assert window(engine).empty


def test_rows_that_another_process_drained_meanwhile_are_kept(
    engine: Engine, tmp_path: Path
) -> None:
    """The place of draining and the rows are one transaction: after a kill both or neither hold."""
    write(tmp_path, [b"a", b"b"])
    row = next(iter(read_records(max(tmp_path.glob("*.seg")))))
    with writing(engine) as connection:
        connection.execute(insert(predictions).values(prediction_store._row(row, 1)))
    assert drain(engine, tmp_path) == 1
    assert count(engine) == 2


def embedded(number: int, image: bytes, embedding: list[float]) -> Served:
    packed = half_precision(np.array(embedding, np.float32))
    return replace(served(number, image), embedding=packed)


def test_a_recorded_embedding_comes_back_in_half_precision(engine: Engine, tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([(embedded(0, b"a", [0.1, -2.5, 3000.0]), b"a"), (served(1, b"b"), b"b")])
    writer.close()
    assert drain(engine, tmp_path) == 2
    has, found = recorded_predictions(window(engine), outputs=2, width=3)
    assert has.tolist() == [True, False]
    expected = Predictions(
        np.array([[0.75, 0.25]], np.float32), np.array([[0.1, -2.5, 3000.0]], np.float32)
    )
    assert (as_recorded(expected).embeddings == found.embeddings).all()
    assert (as_recorded(expected).outputs == found.outputs).all()
    assert not recorded_predictions(window(engine), outputs=2, width=4)[0].any()
    rows = predictions_of(engine, "hone:0001-a", [served(0, b"a").sample_id, "none"])
    assert rows["sample_id"].tolist() == [served(0, b"a").sample_id]
    assert predictions_of(engine, "hone:0002-b", rows["sample_id"].tolist()).empty


def test_recorded_statistics_and_source_come_back(engine: Engine, tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    whole = replace(served(0, b"a"), statistics=b"\x00\x3c", source="gate 3")
    writer.append([(whole, b"a"), (served(1, b"b"), b"b")])
    writer.close()
    assert drain(engine, tmp_path) == 2
    rows = window(engine)
    assert rows["statistics"].tolist() == [b"\x00\x3c", None]
    assert rows["source"].fillna("none").tolist() == ["gate 3", "none"]


def test_a_sample_that_was_served_twice_has_one_stored_prediction(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_store, "CHUNK", 2)
    writer, images = SegmentWriter(tmp_path), [bytes([number]) for number in range(5)]
    for number, image in enumerate([*images, images[0]]):
        writer.append([(embedded(number, image, [1.0]), image)])
    writer.close()
    drain(engine, tmp_path)
    wanted = [served(0, image).sample_id for image in images]
    rows = predictions_of(engine, "hone:0001-a", wanted)
    assert sorted(rows["sample_id"]) == sorted(wanted)


def test_outputs_are_compared_with_the_digits_that_are_recorded() -> None:
    third = Predictions(np.array([[1 / 3, 2 / 3]], np.float32), np.zeros((1, 1), np.float32))
    recorded = np.array([[0.333333, 0.666667]], np.float32)
    assert np.array_equal(as_recorded(third).outputs, recorded)


def test_an_embedding_that_half_precision_cannot_hold_is_not_recorded() -> None:
    assert half_precision(np.array([1e5, 1.0], np.float32)) is None
    assert half_precision(np.array([np.nan], np.float32)) is None


def test_a_segment_of_an_older_version_drains_without_embeddings(
    engine: Engine, tmp_path: Path
) -> None:
    fields = asdict(served(0, b"a")) | {"length": 1}
    for name in ("embedding", "statistics", "source"):
        del fields[name]  # as the service wrote it before
    text = json.dumps(fields).encode()
    checksum = hashlib.sha256(text).hexdigest()[:16].encode()
    (tmp_path / "0001-1-a.seg").write_bytes(b"%s %s\na" % (checksum, text))
    assert drain(engine, tmp_path) == 1
    [row] = window(engine).itertuples()
    assert read_served_image(tmp_path, row) == b"a"
    assert not recorded_predictions(window(engine), outputs=2, width=3)[0].any()
