"""A workspace with a ledger to cut snapshots of, and ways to kill the run that cuts them."""

import hashlib
import os
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, insert, inspect, select, update

import core.git
from core.database import connect, now, upgrade, writing
from core.dvc_objects import ObjectStore
from core.git import git, tags
from core.intents import intents
from core.locks import only_writer
from core.workspace import Workspace, init_workspace
from labeling.ledger.tables import labels, rounds, samples, snapshots
from labeling.snapshots import publish
from labeling.snapshots.publish import cut_snapshot, list_snapshots, load_snapshot, verify_remote


@dataclass
class House:
    """A workspace with its ledger, and a clock-free way to put labels into it."""

    workspace: Workspace
    engine: Engine
    count: int = 0

    def ingest(self, number: int = 3) -> None:
        content = f"shard {self.count}".encode() * 1000
        shard = hashlib.sha256(content).hexdigest() + ".tar"
        (self.workspace.shards / shard).write_bytes(content)
        with writing(self.engine) as connection:
            for _ in range(number):
                name = f"s{self.count:04d}"
                self.count += 1
                connection.execute(
                    insert(samples).values(
                        sample_id=name, shard=shard, offset=0, length=9, stored_sha256="0" * 64,
                        format="PNG", width=8, height=8, thumbnail=b"", group_id=name,
                        origin="ingest", added_at="2026-11-21",
                    )
                )  # fmt: skip

    def label(self, *names: str, value: str = "cat") -> None:
        with writing(self.engine) as connection:
            connection.execute(
                update(labels)
                .where(labels.c.sample_id.in_(names), labels.c.replaced_at.is_(None))
                .values(replaced_at=now())
            )
            for name in names:
                connection.execute(
                    insert(labels).values(
                        sample_id=name, round_id="round-0001", label=value, trust=1.0,
                        annotators=["ann"], method="single",
                        settled_at="2026-11-21",
                    )
                )  # fmt: skip

    def cut(self) -> str | None:
        with only_writer(self.engine, "workspace-git") as token:
            return cut_snapshot(self.engine, self.workspace, token)

    def second(self) -> None:
        """Cut one snapshot, and have enough new labels for another."""
        self.cut()
        self.ingest()
        self.label("s0003", "s0004")
        self.engine.dispose()

    def load(self, name: str) -> pd.DataFrame:
        return load_snapshot(self.engine, self.workspace, name)

    @property
    def root(self) -> Path:
        return self.workspace.root

    @property
    def remote(self) -> list[Path]:
        return sorted(path for path in (self.root / "remote").rglob("*") if path.is_file())


def house_at(root: Path, remote: str | None = None) -> House:
    """The house at `root`; a new one has a round, three samples and two labels."""
    workspace = init_workspace(root, ["cat", "dog"], remote=remote)
    house = House(workspace, connect(workspace.database))
    if inspect(house.engine).has_table("rounds"):
        return house
    upgrade(house.engine)
    with writing(house.engine) as connection:
        connection.execute(
            insert(rounds).values(
                round_id="round-0001", number=1, strategy="margin", seed=0, config={}, why="",
                chosen_at=now(),
            )
        )  # fmt: skip
    house.ingest()
    house.label("s0000", "s0001")
    return house


def in_a_child(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own; return the signal that ended it, 0 for a whole run."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def cut_and_die(root: Path, at: int | str) -> None:
    """Cut a snapshot and be killed at an outside act: the `at`-th, or one like "before git tag"."""
    acts = 0

    def dying(act: Callable[..., object], name: str = "") -> Callable[..., object]:
        def wrapped(*arguments: Any, **options: Any) -> object:
            called = name or "git " + arguments[0][9]
            die_at(f"before {called}")
            outcome = act(*arguments, **options)
            die_at(f"after {called}")
            return outcome

        return wrapped

    def die_at(point: str) -> None:
        nonlocal acts
        if at in (point, acts):
            os.kill(os.getpid(), signal.SIGKILL)
        acts += 1

    patched = _Namespace(subprocess, run=dying(subprocess.run))
    pytest.MonkeyPatch().setattr(core.git, "subprocess", patched)
    for name in ("write_atomically", "begin_intent", "commit_intent"):
        setattr(publish, name, dying(getattr(publish, name), name))
    for name in ("_add", "publish", "_send", "_settle", "_is_whole"):
        setattr(ObjectStore, name, dying(getattr(ObjectStore, name), name))
    house_at(root).cut()


class _Namespace:
    """A module with some names replaced."""

    def __init__(self, module: object, **names: object) -> None:
        self.__dict__ |= vars(module) | names


def state(house: House) -> dict[str, object]:
    """All that a snapshot left anywhere, but for the times of the run."""
    house.engine.dispose()
    with house.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(snapshots)).mappings()]
        left = connection.execute(select(*intents.c["kind", "key", "outcome"])).all()
    for row in rows:
        del row["created_at"], row["commit"]
    trees = {name: git(house.root, "rev-parse", f"{name}^{{tree}}") for name in tags(house.root)}
    return {
        "rows": rows,
        "intents": [tuple(row) for row in left],
        "trees": trees,
        "commits": git(house.root, "log", "--format=%s"),
        "remote": [path.relative_to(house.root).as_posix() for path in house.remote],
        "problems": verify_remote(house.workspace, *trees),
        "untracked": git(house.root, "status", "--porcelain"),
    }


def kill_and_run_again(house: House, copy: Path, at: int | str) -> tuple[int, dict[str, object]]:
    """The signal that ended a run killed at a point, and what a second run made of its remains."""
    shutil.copytree(house.root, copy)
    ended = in_a_child(lambda: cut_and_die(copy, at))
    killed = house_at(copy)
    seen = list_snapshots(killed.engine)["name"].tolist()
    assert verify_remote(killed.workspace, *seen) == []  # before the repair, too
    assert set(seen) <= set(tags(copy))
    killed.cut()
    left = state(killed)
    assert killed.cut() is None
    killed.engine.dispose()
    shutil.rmtree(copy)
    return ended, left
