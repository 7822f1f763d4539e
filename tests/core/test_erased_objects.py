import hashlib
from pathlib import Path

import pytest

from core.dvc_objects import DvcObject, StoreError
from core.erased_objects import ErasingStore
from core.workspace import init_workspace

CONTENT = b"an image"


@pytest.fixture
def wanted(tmp_path: Path) -> DvcObject:
    init_workspace(tmp_path, ["cat", "dog"])
    (tmp_path / "data" / "shards" / "a.tar").write_bytes(CONTENT)
    return DvcObject("data/shards/a.tar", hashlib.md5(CONTENT).hexdigest())


def having(root: Path) -> list[str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return sorted(str(one.relative_to(root)) for one in files if CONTENT in one.read_bytes())


def test_an_object_is_held_in_cache_and_remote_and_dropped_from_both(
    wanted: DvcObject, tmp_path: Path
) -> None:
    with ErasingStore(tmp_path) as store:
        assert not store.has(wanted)
        for _ in range(2):
            store.hold(wanted)
        assert store.has(wanted)
        assert len(having(tmp_path)) == len(list(store.copies(wanted))) == 3
        for _ in range(2):
            store.drop(wanted)
        assert not store.has(wanted)
        assert having(tmp_path) == [] == list(store.copies(wanted))


def test_a_remote_that_cannot_be_reached_is_an_error_that_names_it(
    wanted: DvcObject, tmp_path: Path
) -> None:
    config = tmp_path / ".dvc" / "config"
    config.write_text(config.read_text().replace("../remote", "s3://nowhere/at-all"))
    with (
        ErasingStore(tmp_path) as store,
        pytest.MonkeyPatch.context() as patched,
        pytest.raises(StoreError, match="s3://nowhere/at-all"),
    ):
        patched.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patched.setenv("AWS_ACCESS_KEY_ID", "x")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "x")
        patched.setenv("AWS_MAX_ATTEMPTS", "1")
        store.drop(wanted)
