"""A whole round, killed after each of its tasks in turn: `python -m tests.system.one_round`.

Every task of the flows is wrapped from outside: the task runs as it is, and when it has returned
for the Nth time, the process gets SIGKILL, as from an out-of-memory killer. Then `hone fsck` looks
at what is left, and the whole is run again, to be killed one task later. Each attempt is a fork of
one process that has imported everything, or the imports would take most of the time.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from prefect import Task

from flows import collect_labels, ingest_images, label_round, retrain
from labeling import simulation
from labeling.batches.select import SelectionConfig
from labeling.ledger import rounds
from labeling.snapshots.publish import SnapshotConfig
from labeling.studio import client
from models.judging.verdict import GatePolicy
from models.network.network import NetworkConfig
from models.training.config import TrainConfig
from tasks.context import open_context
from tasks.direct_run import direct_runs
from tasks.label.choose import studio_address
from tasks.operate import fsck
from tests.system.forks import import_tools, in_a_fork

GATE = GatePolicy(min_rows=10, first_accuracy=0.0)
TRAIN = TrainConfig(epochs=1, min_steps=4, batch_size=16, precision="fp32")


def play(images: str, numbers: Sequence[int]) -> None:
    """Ingest, choose, send, answer, collect, freeze, train, judge, release, package; each round."""
    ingest_images.ingest_images([images], processes=1)
    for number in numbers:
        share = 0.5 if number == 1 else 0.0
        round_id = label_round.label_round(
            f"round-{number:04d}",
            SelectionConfig(strategy="margin", size=40 // number, audit_share=share),
        )
        assert round_id is not None
        answer(round_id)
        snapshot = collect_labels.collect_labels(snapshot=SnapshotConfig())
        name = snapshot or f"snapshot-{number:04d}"
        retrain.retrain(name, NetworkConfig(), TRAIN, GATE)


def answer(round_id: str) -> None:
    """Somebody answers in Label Studio what nobody answered yet."""
    ctx = open_context()
    truths = simulation.load_simulation(ctx.workspace.root)[0]
    with ctx.engine.connect() as connection:
        waiting = rounds.open_assignments(connection, round_id)
    with client.connect(**studio_address(ctx)) as studio:
        studio.project(ctx.workspace)
        done = set(studio.answers_since(None).answers["sample_id"])
        for row in waiting[~waiting["sample_id"].isin(done)].itertuples():
            value = {"choices": [truths[str(row.sample_id)]]}
            result = {"from_name": "label", "to_name": "image", "type": "choices", "value": value}
            studio.client.annotations.create(id=int(str(row.external_id)), result=[result])


def die_after(count: int, modules: list[ModuleType]) -> None:
    """Wrap every task so that the `count`th one to return is the last thing this process does."""
    returned = 0

    def wrapped(task: Task[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal returned
            result = task(*arguments, **named)
            returned += 1
            if returned == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, Task):
                setattr(module, name, wrapped(value))


def attempt(images: str, numbers: Sequence[int], deadly: int) -> None:
    """Play these rounds, to be killed after task number `deadly`; 0 is to the end.

    Without a Prefect server, which has no part in what a kill leaves and takes most of the time.
    """
    die_after(deadly, [ingest_images, label_round, collect_labels, retrain])
    with direct_runs():
        play(images, numbers)


def look() -> None:
    """Every promise holds in the state that the kill left."""
    problems = fsck.check()
    if problems:
        raise AssertionError(f"fsck after a kill: {problems}")


if __name__ == "__main__":
    folder, how = sys.argv[1:]
    import_tools()
    kills = 0
    for number in (1, 2) if how == "killed" else ():
        deadly = 1
        while in_a_fork(partial(attempt, folder, [number], deadly)) == signal.SIGKILL:
            deadly += 1
            kills += 1
            in_a_fork(look)
    in_a_fork(lambda: attempt(folder, [1, 2], 0))  # both once more: nothing may change
    in_a_fork(look)
    print(f"killed {kills} times")
