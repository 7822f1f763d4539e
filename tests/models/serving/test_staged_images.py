"""A model looks at the images staged for annotators, and at nothing else."""

from pathlib import Path
from urllib.parse import quote

import pytest

from models.serving import staged_images
from models.serving.staged_images import Unreadable, no_images, staged_folder_images


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A staged with one image, and beside it what must stay unread."""
    (tmp_path / "staged" / "images").mkdir(parents=True)
    (tmp_path / "staged" / "images" / "a + b.png").write_bytes(b"image")
    (tmp_path / "staged" / "note.txt").write_bytes(b"secret")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path / "staged"


def address(file: str) -> str:
    return f"/data/local-files/?d={quote(file)}"


def test_an_image_on_the_desk_is_read_by_its_address(place: Path) -> None:
    assert staged_folder_images(place)(address("images/a + b.png")) == b"image"
    above = staged_folder_images(place, place.parent)
    assert above(address("staged/images/a + b.png")) == b"image"


def test_a_desk_behind_a_link_is_the_same_desk(place: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place)
    assert (
        staged_folder_images(tmp_path / "link", tmp_path)(address("staged/images/a + b.png"))
        == b"image"
    )
    assert staged_folder_images(place, tmp_path)(address("link/images/a + b.png")) == b"image"


@pytest.mark.parametrize(
    "given",
    [
        "http://127.0.0.1:9/cat.png",
        "https://example.com/data/local-files/?d=images/a%20%2B%20b.png",
        "//example.com/data/local-files/?d=images/a%20%2B%20b.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "s3://bucket/images/a.png",
        "/data/upload/1/a.png",
        "/data/local-files?d=images/a%20%2B%20b.png",
        "/data/local-files/",
        "/data/local-files/?d=",
        "/data/local-files/?d=images/a%20%2B%20b.png&d=secret.png",
        "/data/local-files/?x=1&d=images/a%20%2B%20b.png",
        "http://[bad",
        "images/a + b.png",
        "",
        address("../secret.png"),
        address("images/../../secret.png"),
        address("images/../images/a + b.png"),
        address("note.txt"),
        address("images"),
        address("images/none.png"),
        address("images/\0.png"),
        "/data/local-files/?d=%2e%2e%2fsecret.png",
        "/data/local-files/?d=/etc/passwd",
    ],
)
def test_any_other_address_is_refused(place: Path, given: str) -> None:
    with pytest.raises(Unreadable) as error:
        staged_folder_images(place)(given)
    assert error.value.reason == "NOT_STAGED"


def test_an_absolute_path_is_refused_even_to_an_image_on_the_desk(place: Path) -> None:
    with pytest.raises(Unreadable):
        staged_folder_images(place)(address(str(place / "images" / "a + b.png")))


def test_a_link_that_leads_away_from_the_desk_is_not_followed(place: Path) -> None:
    (place / "images" / "away.png").symlink_to(place.parent / "secret.png")
    (place / "images" / "up").symlink_to(place.parent)
    for file in ("images/away.png", "images/up/secret.png"):
        with pytest.raises(Unreadable, match="is no file in"):
            staged_folder_images(place)(address(file))


def test_a_file_too_large_for_an_image_is_not_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged_images, "MAX_BYTES", 4)
    with pytest.raises(Unreadable) as error:
        staged_folder_images(place)(address("images/a + b.png"))
    assert error.value.reason == "TOO_LARGE"


def test_a_long_address_is_not_repeated_whole(place: Path) -> None:
    with pytest.raises(Unreadable) as error:
        staged_folder_images(place)("x" * 100_000)
    assert len(str(error.value)) < 400


def test_without_a_workspace_nothing_is_read() -> None:
    with pytest.raises(Unreadable, match="HONE_WORKSPACE is not set"):
        no_images(address("images/a.png"))
