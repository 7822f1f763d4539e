"""SIGKILL at random moments inside every step: `python -m tests.system.random_kills --kills 300`.

Each trial begins with the workspace as it was before the step, kills the step at a moment drawn at
random, often once more in its recovery and once beside a second process that does the same, and
ends with a run that nobody kills. After each kill `hone fsck` must find nothing, and the end must
be that of a run that was never killed. Processes are forks of one that has imported everything, or
the imports would take most of the time. A failure prints the command that repeats its trial.
"""

import argparse
import json
import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks import direct_run
from tasks.demo import servers
from tasks.operate import fsck
from tests.system.forks import begin, end_of, end_session, import_tools, in_a_fork
from tests.system.kill_points import Moments
from tests.system.loop_state import content
from tests.system.loop_steps import SERVERS, STEPS, answer, forget_in_studio, prepare

IN_STUDIO = ("label", "collect", "label-again")
# How a hundred kills are divided: a release builds a bento, which takes twenty times as long.
SHARES = {"ingest": 15, "label": 9, "collect": 8, "retrain": 7, "release": 6, "serve": 15,
          "drain": 18, "adopt": 14, "label-again": 8}  # fmt: skip
BY_CLOCK = 6  # one kill in so many comes at a random time, to hit what has no moments of its own


@dataclass(frozen=True)
class Kill:
    """A kill at a numbered moment, or after a share of the step's time."""

    at: int | float
    whole_group: bool = False  # git and other programs that the step started die with it
    beside: bool = False  # while another process does the same step

    def __str__(self) -> str:
        return f"{self.at}{'g' * self.whole_group}{'b' * self.beside}"

    @classmethod
    def read(cls, text: str) -> "Kill":
        number = text.rstrip("gb")
        at = float(number) if "." in number else int(number)
        return cls(at, "g" in text, "b" in text)


@dataclass
class Step:
    """A step, with the workspace before it, and its moments and its end when nobody kills it."""

    name: str
    home: Path
    moments: list[str] = field(default_factory=list)
    seconds: float = 0.0
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def _before(self) -> Path:
        return self.home / "before"

    def play_whole(self) -> None:
        """Do it once, and remember how it begins and ends."""
        shutil.copytree(self.home / "workspace", self._before, symlinks=True)
        began = time.monotonic()
        self._finish()
        self.seconds = time.monotonic() - began
        self.moments = json.loads((self.home / "moments.json").read_text())
        self.end = self._content()

    def trial(self, kills: list[Kill]) -> int:
        """Kill it so, let it end, and compare; return how many of the kills came before its end."""
        self._restore()
        done = 0
        for kill in kills:
            came = self._killed(kill)
            done += came
            if not came:
                break
        self._finish()
        self._check()
        same(self._content(), self.end)
        return done

    def clear(self) -> None:
        shutil.rmtree(self._before)

    def _restore(self) -> None:
        if self.name.startswith("label"):
            in_a_fork(partial(forget_in_studio, self.name))
        shutil.rmtree(self.home / "workspace")
        shutil.copytree(self._before, self.home / "workspace", symlinks=True)

    def _killed(self, kill: Kill) -> bool:
        fatal = kill.at if isinstance(kill.at, int) else 0
        victim = begin(partial(self._attempt, fatal, whole_group=kill.whole_group))
        other = begin(self._attempt) if kill.beside else None
        if isinstance(kill.at, float):
            time.sleep(kill.at * self.seconds)
            end_session(victim) if kill.whole_group else os.kill(victim, 9)
        ended = end_of(victim)
        if other is not None:
            end_of(other)
            end_session(other)
        self._check()  # what the killed one started may still run
        end_session(victim)
        return ended == 9

    def _finish(self) -> None:
        child = begin(self._attempt)
        end_of(child)
        end_session(child)

    def _attempt(self, fatal: int = 0, *, whole_group: bool = False) -> None:
        silence(self.home / "output.txt")
        moments = Moments(
            self.home / "workspace",
            fatal,
            whole_group=whole_group,
            threads=self.name in SERVERS,
        )
        moments.watch()
        with direct_run.direct_runs():
            STEPS[self.name](self.home)
        (self.home / "moments.json").write_text(json.dumps(moments.names))

    def _content(self) -> dict[str, Any]:
        return asked(self.home, lambda: content(studio=self.name in IN_STUDIO))

    def _check(self) -> None:
        """Every promise holds in the state that a kill left."""
        problems = asked(self.home, lambda: [str(one) for one in fsck.check()])
        if problems:
            raise AssertionError(f"fsck finds {problems}")


def silence(path: Path) -> None:
    """Let this process print into a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def asked(home: Path, question: Callable[[], Any]) -> Any:
    """The answer of a fork to a question."""
    path = home / "asked.json"

    def write() -> None:
        path.write_text(json.dumps(question()))

    in_a_fork(write)
    return json.loads(path.read_text())


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """An error that names what differs from the end of the run that was never killed."""
    for what in sorted(found.keys() | wanted.keys()):
        one, other = found.get(what), wanted.get(what)
        if one != other:
            raise AssertionError(f"{what} differs:\nkilled  {one}\nnever   {other}")


def draw(rng: random.Random, step: Step) -> list[Kill]:
    """The kills of a trial: in the step, in its recovery, and beside another process."""
    most = len(step.moments)
    kills: list[Kill] = []
    for beside in (False, False, True):
        at: int | float = rng.randint(1, most if not kills else most // 2 + 1)
        if rng.randrange(BY_CLOCK) == 0:
            at = round(rng.random(), 3)
        kills.append(Kill(at, whole_group=rng.random() < 0.5, beside=beside))
    return kills


def play(home: Path, names: list[str], *, kills: int, seed: int, only: str) -> dict[str, int]:
    """Every step, and those of `names` killed by their shares; return how often each was."""
    chosen, _, given = only.partition(":")
    counts: dict[str, int] = {}
    for name in STEPS:
        step = Step(name, home)
        step.play_whole()
        if name == chosen:
            return {name: tried(step, [Kill.read(one) for one in given.split(",")], seed)}
        if name in names and not only:
            share = SHARES[name] / sum(SHARES[one] for one in names)
            counts[name] = kill_often(step, math.ceil(kills * share), seed)
        step.clear()
        if name == "label":
            in_a_fork(partial(answer, home))
    return counts


def kill_often(step: Step, kills: int, seed: int) -> int:
    """Trials until the step was killed this often; return how often it was."""
    rng = random.Random(f"{seed}:{step.name}")
    began, done = time.monotonic(), 0
    while done < kills:
        done += tried(step, draw(rng, step), seed)
    print(
        f"{step.name}: {len(step.moments)} moments, {step.seconds:.1f} s whole; {done} kills in "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return done


def tried(step: Step, kills: list[Kill], seed: int) -> int:
    """The kills of a trial that came; one that fails says how to repeat it."""
    try:
        return step.trial(kills)
    except (AssertionError, SystemExit) as error:
        output = (step.home / "output.txt").read_text()[-3000:]
        at = [step.moments[kill.at - 1] for kill in kills if isinstance(kill.at, int)]
        again = f"{step.name}:{','.join(map(str, kills))}"
        raise SystemExit(
            f"{output}\n{error}\nseed {seed}, {step.name} killed {at}; again: "
            f"python -m tests.system.random_kills --seed {seed} --only {again}"
        ) from error


@contextmanager
def label_studio() -> Iterator[Path]:
    """The folder for workspaces below which the named Label Studio, or a new one, shows files."""
    root = os.environ.get("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT")
    with tempfile.TemporaryDirectory(prefix="random-kills-", dir=root) as home:
        if root is not None:
            yield Path(home)
            return
        command = Path(os.environ["HONE_LABEL_STUDIO_COMMAND"])
        (Path(home) / "server").mkdir()
        with servers.label_studio(command, Path(home) / "server" / "new", Path(home)) as server:
            os.environ |= {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": server.api_key}
            os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = home
            yield Path(home)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--only", default="", help="one trial: a step and its kills")
    given = parser.parse_args()
    # Who waits for the lock of another waits minutes between two looks.
    vars(direct_run)["time"] = SimpleNamespace(sleep=lambda _: time.sleep(0.2))
    with label_studio() as folder:
        import_tools()
        prepare(folder)
        counted = play(folder, given.steps, kills=given.kills, seed=given.seed, only=given.only)
    print(json.dumps(counted))
