"""Zeros take the place of an image and of nothing beside it."""

from pathlib import Path

from models.serving.zeros import WORTH_A_HOLE, ZEROS, has_bytes, overwrite


def test_places_are_overwritten_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path, large = tmp_path / "one.seg", len(ZEROS) + WORTH_A_HOLE
    path.write_bytes(b"a" * 10 + b"b" * large + b"c" * 10 + b"d" * 5)
    places = [(10, large), (20 + large, 5)]
    with path.open("rb") as file:
        assert all(has_bytes(file.fileno(), *place) for place in places)
        overwrite(path, places)
        assert not any(has_bytes(file.fileno(), *place) for place in places)
        assert has_bytes(file.fileno(), 0, 10)
    assert path.read_bytes() == b"a" * 10 + bytes(large) + b"c" * 10 + bytes(5)
