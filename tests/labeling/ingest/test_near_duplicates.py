import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from core.images import clean_image
from labeling.ingest.near_duplicates import ThumbnailIndex, _Part, _rows, join_groups


def names(count: int, salt: str = "") -> list[str]:
    return [hashlib.sha256(f"{salt}{number}".encode()).hexdigest() for number in range(count)]


def look_of(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return clean_image(buffer.getvalue()).thumbnail


def scenes(count: int, side: int = 64, seed: int = 0) -> list[Image.Image]:
    """Pictures with something like the spectrum of photos: smooth, with some detail."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        layers = [rng.normal(size=(size, size)) / size**0.6 for size in (2, 4, 8, 16, 32)]
        grown = [np.asarray(Image.fromarray(a).resize((side, side), 3)) for a in layers]
        whole = np.sum(grown, axis=0)
        scaled = (whole - whole.min()) / np.ptp(whole) * 200 + 20
        pictures.append(Image.fromarray(scaled.astype(np.uint8)))
    return pictures


class Groups:
    """The group of every sample that came, as the ledger has it."""

    def __init__(self) -> None:
        self.index = ThumbnailIndex()
        self.of: dict[str, str] = {}

    def add(
        self, sample_ids: list[str], thumbnails: list[bytes]
    ) -> tuple[list[str], dict[str, str]]:
        groups, renamed = join_groups(sample_ids, self.index.add(sample_ids, thumbnails), self.of)
        self.of = {one: renamed.get(group, group) for one, group in self.of.items()}
        self.of |= dict(zip(sample_ids, groups, strict=True))
        return groups, renamed


def grouped(looks: list[bytes], ids: list[str], *, at_once: int) -> dict[str, str]:
    """The group of every sample after all of them came, `at_once` at a time."""
    groups = Groups()
    for start in range(0, len(ids), at_once):
        part = slice(start, start + at_once)
        groups.add(ids[part], looks[part])
    return groups.of


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return scenes(300)


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda p: look_of(p, "JPEG", quality=90), id="encoded at 90"),
        pytest.param(lambda p: look_of(p, "JPEG", quality=60), id="encoded at 60"),
        pytest.param(lambda p: look_of(p.resize((128, 128), 3)), id="twice the size"),
        pytest.param(lambda p: look_of(p.resize((32, 32), 1), "JPEG", quality=90), id="half"),
        pytest.param(lambda p: look_of(p.point(lambda v: v * 1.05 + 4)), id="a little brighter"),
        pytest.param(lambda p: look_of(p.convert("RGB")), id="in colour"),
    ],
)
def test_copies_share_a_group_and_others_do_not(originals, copy) -> None:
    looks = [look_of(picture) for picture in originals]
    copies = [copy(picture) for picture in originals]
    ids, others = names(300), names(300, "copy")
    group_of = grouped(looks + copies, ids + others, at_once=150)
    assert all(group_of[one] == group_of[other] for one, other in zip(ids, others, strict=True))
    assert set(Counter(group_of.values()).values()) == {2}


def test_handwritten_digits_do_not_run_together() -> None:
    digits = [np.round(image * 255 / 16).astype(np.uint8) for image in load_digits().images]
    looks = [look_of(Image.fromarray(digit)) for digit in digits]
    sizes = Counter(grouped(looks, names(len(looks)), at_once=500).values())
    assert sum(size == 1 for size in sizes.values()) > 0.95 * len(looks)
    assert max(sizes.values()) <= 3


def test_a_group_is_named_by_its_smallest_sample() -> None:
    look = look_of(scenes(1)[0])
    index = Groups()
    assert index.add(["d", "b"], [look, look]) == (["b", "b"], {})
    assert index.add(["c"], [look]) == (["b"], {})
    assert index.add(["a"], [look]) == (["a"], {"b": "a"})


def test_a_sample_between_two_groups_makes_them_one() -> None:
    first, last = (np.asarray(p, float) for p in scenes(2))
    steps = [first + (last - first) * part for part in (0, 0.07, 0.14)]
    looks = [look_of(Image.fromarray(step.astype(np.uint8))) for step in steps]
    index = Groups()
    groups, _ = index.add(["b", "c"], [looks[0], looks[2]])
    assert groups == ["b", "c"]
    assert index.add(["d"], [looks[1]]) == (["b"], {"c": "b"})


def test_what_is_remembered_counts_like_what_was_added() -> None:
    looks = [look_of(picture) for picture in scenes(40)]
    index = ThumbnailIndex()
    index.remember(names(40), looks)
    assert len(index) == 40
    pairs = index.add(names(40, "copy"), looks)
    assert sorted(pairs) == sorted(zip(names(40, "copy"), names(40), strict=True))


def test_a_sample_that_is_gone_from_the_ledger_joins_nothing() -> None:
    assert join_groups(["b"], [("b", "a"), ("b", "c")], {"c": "c"}) == (["b"], {"c": "b"})


@pytest.mark.parametrize("at_once", [10, 64, 400])
def test_a_saved_index_goes_on_where_it_was(tmp_path: Path, at_once: int) -> None:
    """Saved and loaded between any two additions, it groups like one that stayed in memory."""
    pictures = scenes(200)
    looks = [look_of(p) for p in pictures] + [look_of(p, "JPEG", quality=80) for p in pictures]
    ids, groups = names(400), Groups()
    for start in range(0, 400, at_once):
        part = slice(start, start + at_once)
        groups.add(ids[part], looks[part])
        groups.index.save(tmp_path, version=str(start))
        loaded = ThumbnailIndex.load(tmp_path, version=str(start))
        assert loaded is not None and len(loaded) == min(400, start + at_once)
        groups.index = loaded
    assert groups.of == grouped(looks, ids, at_once=400)
    assert ThumbnailIndex.load(tmp_path, version="another") is None


def test_few_parts_hold_many_samples_and_only_new_ones_are_written(tmp_path: Path) -> None:
    index = ThumbnailIndex()
    looks = [look_of(picture) for picture in scenes(20)]
    index.remember(names(1_000), looks * 50)
    index.save(tmp_path, "1")
    before = {path.name for path in tmp_path.glob("*.npy")}
    for number in range(10):
        index.add(names(20, f"new {number}"), looks)
    index.save(tmp_path, "2")
    after = {path.name for path in tmp_path.glob("*.npy")}
    assert before < after and len(after) <= 3 * 4  # the large part is as it was


def test_an_index_that_was_not_written_to_its_end_is_not_loaded(tmp_path: Path) -> None:
    index = ThumbnailIndex()
    index.remember(names(20), [look_of(picture) for picture in scenes(20)])
    index.save(tmp_path, "1")
    (rows,) = tmp_path.glob("*.rows.npy")
    rows.write_bytes(rows.read_bytes()[:-1])
    assert ThumbnailIndex.load(tmp_path, "1") is None
    rows.unlink()
    assert ThumbnailIndex.load(tmp_path, "1") is None


@pytest.mark.parametrize("at_once", [1, 7, 200])
def test_the_order_of_arrival_does_not_matter(at_once: int) -> None:
    pictures = scenes(60)
    looks = [look_of(p) for p in pictures] + [look_of(p, "JPEG", quality=80) for p in pictures]
    ids = names(120)
    shuffled = np.random.default_rng(1).permutation(120)
    straight = grouped(looks, ids, at_once=120)
    mixed = grouped([looks[i] for i in shuffled], [ids[i] for i in shuffled], at_once=at_once)
    assert mixed == straight


def test_plain_areas_are_alike_only_when_they_are_the_same() -> None:
    looks = [bytes([level]) * 256 for level in (0, 60, 128, 200, 255) for _ in range(3)]
    sizes = Counter(grouped(looks, names(15), at_once=4).values())
    assert sorted(sizes.values()) == [3] * 5


def test_ten_thousand_plain_images_are_one_group_for_bounded_work() -> None:
    plain = b"\x80" * 256
    index = ThumbnailIndex()
    index.remember(names(9_000), [plain] * 9_000)
    new = _Part.of(_rows(names(1_000, "new"), [plain] * 1_000))
    (part,) = index._parts
    assert len(index._candidates(new, part)) <= 1_000 * 9 * 65
    groups = Groups()
    groups.index, groups.of = index, dict.fromkeys(names(9_000), "0")
    assert set(groups.add(names(1_000, "more"), [plain] * 1_000)[0]) == {"0"}


def test_noise_on_a_plain_area_is_no_likeness() -> None:
    rng = np.random.default_rng(0)
    looks = [rng.integers(118, 138, 256, dtype=np.uint8).tobytes() for _ in range(2_000)]
    assert len(set(grouped(looks, names(2_000), at_once=500).values())) == 2_000


def test_nothing_is_nothing() -> None:
    assert ThumbnailIndex().add([], []) == []
    assert join_groups([], [], {}) == ([], {})
