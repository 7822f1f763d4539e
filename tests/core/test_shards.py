import hashlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import shards
from core.shards import ShardLocation, pack, read_image, read_images, write_shard


def some_images(count: int, seed: int = 0) -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(seed)
    contents = [rng.bytes(int(rng.integers(1, 3000))) for _ in range(count)]
    return [(f"{hashlib.sha256(one).hexdigest()}.png", one) for one in contents]


def test_every_image_is_read_back_from_its_place(tmp_path: Path) -> None:
    images = some_images(20)
    places = write_shard(tmp_path, images)
    assert [read_image(tmp_path, place) for place in places] == [one for _, one in images]
    assert list(read_images(tmp_path, reversed(places))) == [one for _, one in images[::-1]]


def test_the_file_is_named_by_its_digest(tmp_path: Path) -> None:
    write_shard(tmp_path, some_images(3))
    (path,) = tmp_path.iterdir()
    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest() + ".tar"


def test_the_same_images_in_any_order_are_the_same_shard(tmp_path: Path) -> None:
    images = some_images(9)
    forwards, backwards = pack(images), pack(images[::-1])
    assert forwards.name == backwards.name
    assert forwards.places == backwards.places[::-1]
    assert pack(images[1:]).name != forwards.name


def test_a_shard_that_is_there_is_written_again_without_harm(tmp_path: Path) -> None:
    places = write_shard(tmp_path, some_images(3))
    assert write_shard(tmp_path, some_images(3)) == places
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_gives_back_other_bytes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "write_atomically", lambda path, content: "0" * 64)
    with pytest.raises(OSError, match="has SHA-256 000000000000; check the disk"):
        write_shard(tmp_path, some_images(1))


@given(sizes=st.lists(st.integers(0, 1100), max_size=6))
def test_any_tar_reads_it(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("shards")
    images = [(f"{number}.jpg", bytes([number]) * size) for number, size in enumerate(sizes)]
    write_shard(folder, images)
    (path,) = folder.iterdir()
    with tarfile.open(path) as tar:
        files = [(one.name, tar.extractfile(one)) for one in tar]
        assert [(name, file and file.read()) for name, file in files] == images


def test_the_tar_command_reads_it(tmp_path: Path) -> None:
    images = some_images(3)
    write_shard(tmp_path, images)
    (path,) = tmp_path.iterdir()
    listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == sorted(name for name, _ in images)


def test_a_damaged_image_is_refused_and_its_neighbours_are_not(tmp_path: Path) -> None:
    images = some_images(3)
    places = write_shard(tmp_path, images)
    path = tmp_path / places[1].shard
    hurt = bytearray(path.read_bytes())
    hurt[places[1].offset] ^= 1
    path.write_bytes(hurt)
    with pytest.raises(ValueError, match=rf"{places[1].shard}.*restore it"):
        read_image(tmp_path, places[1])
    assert read_image(tmp_path, places[0]) == images[0][1]
    assert read_image(tmp_path, places[2]) == images[2][1]


def test_a_shard_cut_short_is_refused(tmp_path: Path) -> None:
    places = write_shard(tmp_path, some_images(3))
    path = tmp_path / places[0].shard
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="changed or damaged"):
        list(read_images(tmp_path, places))


def test_a_missing_shard_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.tar.*dvc pull"):
        read_image(tmp_path, ShardLocation("gone.tar", 0, 1, "0" * 64))


def test_many_shards_are_read_with_few_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_OPEN_AT_ONCE", 2)
    sets = [some_images(4, seed) for seed in range(5)]
    places = [place for images in sets for place in write_shard(tmp_path, images)]
    contents = [one for images in sets for _, one in images]
    mixed = np.random.default_rng(0).permutation(len(places))
    before, most_open, got = psutil.Process().num_fds(), 0, []
    for content in read_images(tmp_path, [places[at] for at in mixed]):
        most_open = max(most_open, psutil.Process().num_fds() - before)
        got.append(content)
    assert got == [contents[at] for at in mixed]
    assert most_open == 2


def test_a_name_stands_once_and_fits() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        pack([("a.png", b"1"), ("a.png", b"2")])
    for name in ("", "a" * 101):
        with pytest.raises(ValueError, match="1 to 100 bytes"):
            pack([(name, b"1")])
