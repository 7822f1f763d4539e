"""Old snapshots lead to the shards that have their images now."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, select

from core import journal
from core.database import connect, now, writing
from core.dvc_objects import DvcObject
from core.intents import open_intents
from core.locks import LockLost, only_writer
from core.shards import read_image
from core.workspace import Workspace, init_workspace
from labeling.ledger.erased import REPLACE, erased_samples, forget_samples, replaced_shards
from labeling.ledger.tables import location_of, samples
from labeling.snapshots.replaced import as_stored, replace_shards, replacements
from tests.labeling.databases import make_engine, store_images

NAMES = ["a", "b", "c"]
CONTENT = {name: name.encode() * 700 for name in NAMES}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replaced") / "work"
    workspace = init_workspace(root, ["cat", "dog"])
    engine = make_engine(root, NAMES)
    store_images(engine, workspace, CONTENT)
    engine.dispose()
    return root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(template, tmp_path / "work")
    return Workspace.read((tmp_path / "work" / "hone.toml").read_text(), tmp_path / "work")


@pytest.fixture
def engine(workspace: Workspace) -> Engine:
    return connect(workspace.database)


def erase(engine: Engine, workspace: Workspace, number: int, *names: str) -> list[str]:
    with writing(engine) as connection:
        forget_samples(connection, number, names)
    with only_writer(engine, "workspace-git") as token:
        return replace_shards(engine, workspace, token)


def table_of(engine: Engine) -> pd.DataFrame:
    columns = samples.c["sample_id", "shard", "offset", "length", "stored_sha256"]
    with engine.connect() as connection:
        return pd.read_sql(select(*columns).order_by(samples.c.sample_id), connection)


def test_a_table_of_long_ago_leads_through_every_replacement(
    engine: Engine, workspace: Workspace
) -> None:
    frozen = table_of(engine)
    assert erase(engine, workspace, 1, "a") == []
    between = table_of(engine)
    assert erase(engine, workspace, 2, "b") == []
    for table in (frozen, between):
        with engine.connect() as connection:
            [row] = as_stored(connection, table).itertuples()
        assert row.sample_id == "c"
        assert read_image(workspace.shards, location_of(row)) == CONTENT["c"]
    [path] = workspace.shards.iterdir()
    assert all((content in path.read_bytes()) == (name == "c") for name, content in CONTENT.items())
    last = replacements(engine).values()
    assert {one and one.path for one in last} == {f"data/shards/{path.name}"}


def test_a_table_that_nothing_was_erased_of_is_the_same_one(engine: Engine) -> None:
    table = table_of(engine)
    with engine.connect() as connection:
        assert as_stored(connection, table) is table


def test_a_shard_without_an_image_has_no_successor(engine: Engine, workspace: Workspace) -> None:
    frozen = table_of(engine)
    assert erase(engine, workspace, 1, *NAMES) == []
    assert list(workspace.shards.iterdir()) == []
    assert list(replacements(engine).values()) == [None]
    with engine.connect() as connection:
        assert as_stored(connection, frozen).empty


def test_images_of_one_shard_are_one_rewrite(engine: Engine, workspace: Workspace) -> None:
    assert erase(engine, workspace, 1, "a", "b") == []
    with engine.connect() as connection:
        assert len(connection.execute(select(replaced_shards)).all()) == 1
        assert open_intents(connection, REPLACE) == {}
        shards = connection.scalars(select(erased_samples.c.shard)).all()
    assert set(shards) == {path.name for path in workspace.shards.iterdir()}


def test_a_shard_that_is_away_or_damaged_is_named_and_holds_up_no_other(
    engine: Engine, workspace: Workspace
) -> None:
    [path] = workspace.shards.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + b"x")
    assert "is damaged: its SHA-256 is not its name" in erase(engine, workspace, 1, "a")[0]
    path.unlink()
    assert "--repair` brings it back" in erase(engine, workspace, 2, "b")[0]
    path.write_bytes(whole)
    assert erase(engine, workspace, 3) == []


def test_a_process_that_lost_its_lock_replaces_nothing(
    engine: Engine, workspace: Workspace
) -> None:
    with writing(engine) as connection:
        forget_samples(connection, 1, ["a"])
    with only_writer(engine, "workspace-git") as old:
        pass
    with only_writer(engine, "workspace-git"), pytest.raises(LockLost):
        replace_shards(engine, workspace, old)
    with engine.connect() as connection:
        assert connection.execute(select(replaced_shards)).all() == []


def test_a_chain_of_objects_ends_at_the_last(engine: Engine) -> None:
    rows = [
        {"shard": old, "md5": f"md5-{old}", "successor": new, "successor_md5": f"md5-{new}"}
        for old, new in (("a", "b"), ("b", "c"))
    ]
    with writing(engine) as connection:
        journal.insert(connection, replaced_shards, [{**row, "replaced_at": now()} for row in rows])
    last = DvcObject("data/shards/c", "md5-c")
    assert replacements(engine) == {"md5-a": last, "md5-b": last}
