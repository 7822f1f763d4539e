"""A probe in a process of its own: an engine that crashes, or takes memory, harms no service.

One probe at a time runs on a machine, and the choice is stored for all who wait for it.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from core.child_environment import environment_without_secrets
from core.database import now
from models.runtimes.choice import Choice, choice_of, load_choice, model_folder, store_choice
from models.runtimes.machine import machine
from models.runtimes.policy import Policy

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel

CODE = Path(__file__).parents[2]  # from where `python -m` imports this module
SECONDS = 120.0  # a probe takes 20 at most; one that hangs is ended
NICE = 10  # of a probe beside a service that answers


class ProbeFailed(RuntimeError):
    """No choice could be made; torch answers."""


@dataclass(frozen=True)
class Asked:
    """What a probe is about; paths as text, for the other process."""

    model: str  # the folder of the model's files
    version: str
    digest: str
    home: str  # the folder of all runtimes
    policy: Policy
    threads: int
    images: int | None = None  # the descriptor of a file of numpy's, which the process inherits
    traffic: str | None = None  # the folder of the service's segments
    nice: bool = False


def choose(
    model: "LoadedModel",
    home: Path,
    *,
    policy: Policy,
    threads: int,
    images: BinaryIO | None = None,
    traffic: Path | None = None,
    nice: bool = False,
) -> Choice:
    """The choice for a model on this machine: the stored one, or that of a probe, which stores it.

    `ProbeFailed` says why there is none.
    """
    folder = model_folder(home, model.version)
    known = load_choice(folder, model.sha256, policy, threads=threads)
    if known is not None:
        return known
    with _one_at_a_time() as lock:
        known = load_choice(folder, model.sha256, policy, threads=threads)
        if known is not None:
            return known
        asked = Asked(
            model=str(model.folder),
            version=model.version,
            digest=model.sha256,
            home=str(home.resolve()),
            policy=policy,
            threads=threads,
            images=images.fileno() if images else None,
            traffic=str(traffic.resolve()) if traffic else None,
            nice=nice,
        )
        return _in_child(asked, lock)


@contextmanager
def _one_at_a_time() -> Iterator[int]:
    """The lock of this machine and user, held until the block and its child process have ended."""
    path = Path(tempfile.gettempdir()) / f"hone-probe-{os.getuid()}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        lock = os.open(path, flags, 0o600)
    except OSError as error:
        raise ProbeFailed(f"the lock of the probe cannot be taken ({error})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _in_child(asked: Asked, lock: int) -> Choice:
    count = str(asked.threads)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), count)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "models.runtimes.probe_process", json.dumps(asdict(asked))],
            cwd=CODE,
            env={**environment_without_secrets(), **threads},
            pass_fds=[lock] if asked.images is None else [lock, asked.images],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeFailed(f"the probe took more than {SECONDS:.0f} s and was ended") from error
    except OSError as error:
        raise ProbeFailed(f"the probe could not be started ({error})") from error
    choice = choice_of(done.stdout.rpartition("\n")[2])
    if done.returncode or choice is None:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ProbeFailed(f"the probe failed: {last[0][:300]}")
    return choice


def probe_model(asked: Asked) -> Choice:
    """The choice of a probe in this process; stored where the disk takes it."""
    import torch

    from models.registry.model_store import read_model
    from models.runtimes.export import forget_exports
    from models.runtimes.loading import source_of
    from models.runtimes.probe import probe
    from models.runtimes.probe_images import given_images, images_at_hand

    began = time.monotonic()
    torch.set_num_threads(asked.threads)
    model = read_model(Path(asked.model), asked.version, asked.digest)
    images = (
        given_images(asked.images)
        if asked.images is not None
        else images_at_hand(Path(asked.traffic) if asked.traffic else None, model.card.image_size)
    )
    home = Path(asked.home)
    probed = probe(
        source_of(model, home, threads=asked.threads),
        images.pixels,
        model.card.label_kind,
        model.card.classes,
        policy=asked.policy,
        real=images.real,
    )
    choice = Choice(
        version=asked.version,
        digest=asked.digest,
        policy=asked.policy,
        machine=machine(asked.threads),
        at=now(),
        seconds=round(time.monotonic() - began, 1),
        images=images.words,
        sizes=probed.sizes,
        agreement=probed.agreement,
        dropped=probed.dropped,
    )
    store_choice(model_folder(home, asked.version), choice)
    forget_exports(home)
    return choice


def main(words: str) -> None:
    """Make the choice that the JSON asks for, and print it as JSON."""
    written: dict[str, Any] = json.loads(words)
    asked = Asked(**{**written, "policy": Policy(written["policy"])})
    if asked.nice:
        os.nice(NICE)
    choice = probe_model(asked)
    sys.stdout.write(f"\n{json.dumps(choice.as_json())}")


if __name__ == "__main__":
    main(sys.argv[1])
