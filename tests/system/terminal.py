"""Many commands in one environment, each in a fork of a process that has imported everything.

Imports take most of the time of a command, and a test with twenty commands would spend minutes on
them. `python -m tests.system.terminal FOLDER` reads one command per line, as JSON: its words and
what is changed in its environment. It runs the command with its output in files of the folder, and
prints its exit status.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.workspace import Workspace
from tests.system.world import check_status, environment

Hone = Callable[..., subprocess.CompletedProcess[str]]
OUTPUTS = ("stdout", "stderr")


@contextmanager
def terminal(workspace: Workspace, **more: str) -> Iterator[Hone]:
    """A function that runs `hone` with these words in the workspace, as `world.hone` does."""
    with (
        tempfile.TemporaryDirectory(prefix="hone-terminal-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.system.terminal", folder],
            env=environment(workspace, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        to_terminal, from_terminal = process.stdin, process.stdout

        def hone(
            *words: str, check: bool = True, **changed: str
        ) -> subprocess.CompletedProcess[str]:
            print(json.dumps([words, changed]), file=to_terminal, flush=True)
            status = int(from_terminal.readline())
            stdout, stderr = ((Path(folder) / name).read_text() for name in OUTPUTS)
            ended = subprocess.CompletedProcess(words, status, stdout, stderr)
            if check:
                check_status(ended)
            return ended

        yield hone
        to_terminal.close()


def serve(folder: Path) -> None:
    """Run each command that standard input names."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            words, changed = json.loads(line)
            os.environ |= changed
            run(words, folder)
            sys.exit()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(words: list[str], folder: Path) -> None:
    """Run `hone` with these words, its output in two files of the folder, and exit as it does."""
    for number, name in enumerate(OUTPUTS, start=1):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.argv = ["hone", *words]
    main()


if __name__ == "__main__":
    from flows.cli import main
    from flows.cli.entry import QUIET

    for name, value in QUIET.items():  # before Prefect reads its settings
        os.environ.setdefault(name, value)
    from flows import (  # noqa: F401
        collect_labels,
        ingest_images,
        label_round,
        retrain,
        review_labels,
        watch_traffic,
    )

    gc.freeze()  # forks neither look for garbage among what was imported nor copy it for that
    serve(Path(sys.argv[1]))
