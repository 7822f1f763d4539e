"""How far the segments of a folder were drained."""

from pathlib import Path

from core.database import connect, upgrade, writing
from models.serving.drained import note_progress, progress


def test_each_folder_has_its_own_progress(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.db'}")
    upgrade(engine)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.seg").write_bytes(b"12345")
    (tmp_path / "one" / "b.seg").mkdir()
    for end in (2, 3):
        with writing(engine) as connection:
            note_progress(connection, "one", "a.seg", end)
    assert progress(engine, tmp_path, "one") == [(tmp_path / "one" / "a.seg", 5, 3)]
    assert progress(engine, tmp_path, "other") == [(tmp_path / "other" / "a.seg", 5, 0)]
