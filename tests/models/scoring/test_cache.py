"""Scores are kept once, whole blocks only, whenever the process that wrote them was killed."""

import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.locks import LockBusy
from models.scoring.cache import forget_cache, open_cache

CLASSES, WIDTH = 3, 5
BLOCK = 300  # rows at a time, where a writer is killed


def names(numbers):
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def scores(numbers):
    """Rows that can be told from their numbers."""
    tall = np.array(list(numbers), np.float32).reshape(-1, 1)
    return tall + np.arange(CLASSES, dtype=np.float32), tall - np.arange(WIDTH, dtype=np.float32)


def opened(folder, **other):
    return open_cache(folder, **({"outputs": CLASSES, "width": WIDTH} | other))


def put(cache, numbers):
    cache.append(names(numbers), *scores(numbers))


def assert_holds(cache, numbers):
    rows = cache.rows_of(names(numbers))
    probs, embeddings = scores(numbers)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(cache.outputs[rows], probs)
    np.testing.assert_array_equal(cache.embeddings[rows], embeddings)


def test_what_was_appended_is_found_again_in_the_order_it_is_asked_for(tmp_path):
    with opened(tmp_path) as cache:
        put(cache, range(7))
        put(cache, range(7, 9))
    with opened(tmp_path) as cache:
        assert len(cache) == 9
        assert_holds(cache, [8, 0, 5, 5])
        assert cache.rows_of(names([100, 2])).tolist() == [-1, cache.rows_of(names([2]))[0]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30)), max_size=4), st.lists(st.integers(0, 30)))
def test_missing_names_each_sample_that_is_not_there_once(tmp_path_factory, blocks, wanted):
    with opened(tmp_path_factory.mktemp("scores")) as cache:
        known: set[int] = set()
        for block in blocks:
            put(cache, sorted(block - known))
            known |= block
        absent = [wanted[at] for at in cache.missing(names(wanted))]
        assert absent == list(dict.fromkeys(number for number in wanted if number not in known))
        assert_holds(cache, sorted(known))


def test_the_rows_are_mapped_and_cannot_be_changed(tmp_path):
    with opened(tmp_path) as cache:
        assert cache.outputs.shape == (0, CLASSES) and cache.embeddings.shape == (0, WIDTH)
        put(cache, range(4))
        assert isinstance(cache.embeddings, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            cache.outputs[0] = 1


def test_ids_that_end_in_zero_bytes_are_told_apart(tmp_path):
    twins = ["ab" + "00" * 31, "ab" + "00" * 30 + "01", "00" * 32]
    with opened(tmp_path) as cache:
        cache.append(twins, *scores(range(3)))
        assert cache.rows_of([twins[2], twins[0], twins[1]]).tolist() == [2, 0, 1]
    with opened(tmp_path) as cache:
        assert cache.rows_of(twins).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "other", [{"outputs": CLASSES + 1}, {"width": WIDTH - 1}, {"model": "another"}]
)
def test_scores_of_another_model_are_begun_anew_and_that_is_said(tmp_path, capsys, other):
    with opened(tmp_path) as cache:
        put(cache, range(4))
        before = cache.outputs
    assert capsys.readouterr().out == ""  # a first time is nothing to speak of
    with opened(tmp_path, **other) as cache:
        assert len(cache) == 0
    assert "begun anew" in capsys.readouterr().out
    np.testing.assert_array_equal(before, scores(range(4))[0])  # who has them mapped reads on


@pytest.mark.parametrize("name", ["ids", "probs", "embeddings", "blocks"])
def test_damage_is_found_and_costs_time_but_no_error(tmp_path, capsys, name):
    with opened(tmp_path) as cache:
        put(cache, range(4))
        put(cache, range(4, 8))
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with opened(tmp_path) as cache:
        assert len(cache) == 0
        put(cache, range(8))
        assert_holds(cache, range(8))
    assert "begun anew" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ids", "probs", "embeddings", "blocks"])
def test_a_lost_or_shortened_file_is_damage_too(tmp_path, name):
    for harm in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:10])):
        with opened(tmp_path) as cache:
            put(cache, cache.missing(names(range(8))))
        harm(tmp_path / name)
        with opened(tmp_path) as cache:
            assert len(cache) == 0


def test_a_torn_end_is_overwritten(tmp_path, capsys):
    with opened(tmp_path) as cache:
        put(cache, range(4))
    for name in ("ids", "probs", "embeddings", "blocks"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"torn" * 5)
    with opened(tmp_path) as cache:
        assert len(cache) == 4
        put(cache, range(4, 9))
    with opened(tmp_path) as cache:
        assert_holds(cache, range(9))
    assert capsys.readouterr().out == ""


def test_half_a_last_record_is_a_torn_end(tmp_path):
    with opened(tmp_path) as cache:
        put(cache, range(4))
        put(cache, range(4, 6))
    path = tmp_path / "blocks"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4] + bytes(len(content) // 4))
    with opened(tmp_path) as cache:
        assert_holds(cache, range(4))
        assert len(cache) == 4


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    with opened(tmp_path), pytest.raises(LockBusy, match="open in process"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_a_cache_is_forgotten_unless_somebody_has_it_open(tmp_path):
    with opened(tmp_path) as cache:
        put(cache, range(4))
        assert not forget_cache(tmp_path)
        put(cache, range(4, 6))
        mapped = cache.outputs
    lock = (tmp_path / "lock").stat().st_ino
    assert forget_cache(tmp_path)
    np.testing.assert_array_equal(mapped, scores(range(6))[0])  # it stays readable
    with opened(tmp_path) as cache:
        assert len(cache) == 0
        assert not forget_cache(tmp_path)
    assert (tmp_path / "lock").stat().st_ino == lock  # whoever waited for it waits for this one


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    with opened(tmp_path) as cache:
        put(cache, range(4))
        with pytest.raises(ValueError, match="already"):
            put(cache, [3, 4])
        with pytest.raises(ValueError, match="twice"):
            put(cache, [5, 5])
        with pytest.raises(ValueError, match="do not fit"):
            cache.append(names([6]), np.zeros((1, 2)), np.zeros((1, WIDTH)))
        with pytest.raises(ValueError, match=r"'tree' is no sample id"):
            cache.rows_of(["tree"])
        assert len(cache) == 4
    with pytest.raises(ValueError, match="closed"):
        put(cache, [9])


def test_killed_at_any_moment_it_holds_the_blocks_it_said_it_held(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        said = said_before_it_was_killed(tmp_path, int(rng.integers(1, 9)))
        with opened(tmp_path) as cache:
            assert len(cache) >= said
            assert len(cache) % BLOCK == 0
            rows = cache.rows_of(names(range(len(cache))))
            np.testing.assert_array_equal(rows, np.arange(len(cache)))
            assert_holds(cache, range(len(cache)))


def said_before_it_was_killed(folder, blocks):
    """Kill a writer once it has said so many blocks, wherever it is then; return what it said."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            cache = opened(folder)
            while True:
                put(cache, range(len(cache), len(cache) + BLOCK))
                os.write(theirs, len(cache).to_bytes(8, "little"))
        finally:
            os._exit(1)
    os.close(theirs)
    said = b"".join(os.read(ours, 8) for _ in range(blocks))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(ours, "rb") as rest:
        said += rest.read()
    return int.from_bytes(said[-8:], "little")
