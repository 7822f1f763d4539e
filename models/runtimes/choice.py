"""Which runtime answers batches of which size on a machine, and what was measured for it.

A choice is a file beside the export of its model, one for each machine and each HONE_RUNTIME.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.files import write_atomically
from models.runtimes.agreement import Agreement
from models.runtimes.machine import fingerprint, machine
from models.runtimes.policy import Policy

ADVICE = "pip install 'hone[fast]'"
EAGER = "torch"  # the name of the reference: what every other runtime is compared with


@dataclass(frozen=True)
class Timed:
    """The runtime for batches of one size, and processor milliseconds of a batch."""

    runtime: str
    ms: float
    torch_ms: float

    @property
    def speed_up(self) -> float:
        """How many times less processor time than eager torch."""
        return self.torch_ms / self.ms if self.ms else 1.0


@dataclass(frozen=True)
class Choice:
    """What a probe chose for a model on a machine."""

    version: str
    digest: str  # of the model
    policy: Policy
    machine: dict[str, Any]
    at: str
    seconds: float  # that the probe took
    images: str  # what it compared answers on
    sizes: dict[int, Timed]  # by images of a batch
    agreement: dict[str, Agreement] = field(default_factory=dict)  # of each runtime that answers
    dropped: dict[str, str] = field(default_factory=dict)  # runtimes, and why

    @property
    def runtimes(self) -> list[str]:
        """The names of the runtimes that answer, by the sizes of batches."""
        return list(dict.fromkeys(timed.runtime for _, timed in sorted(self.sizes.items())))

    @property
    def speed_up(self) -> float:
        """The geometric mean over the sizes of batches."""
        logs = [math.log(timed.speed_up) for timed in self.sizes.values()]
        return math.exp(sum(logs) / len(logs)) if logs else 1.0

    def sentence(self) -> str:
        """The choice, its speed-up and its agreement, for people."""
        if self.runtimes in ([], [EAGER]):
            why = "; ".join(f"{name}: {reason}" for name, reason in self.dropped.items())
            return "torch: nothing faster agrees here" + (f" ({why})" if why else "")
        names = ", ".join(f"{name} for {self._range(name)}" for name in self.runtimes)
        same = min(one.same_label for one in self.agreement.values())
        images = min(one.images for one in self.agreement.values())
        first = self.sizes[min(self.sizes)].speed_up
        return (
            f"{names}: {self.speed_up:.1f} times as fast as torch ({first:.1f} for one image), "
            f"the same label for {same:.2%} of {images:,} {self.images}{self._missing()}"
        )

    def _missing(self) -> str:
        """What another runtime would need."""
        absent = [f"{name}: {why}" for name, why in self.dropped.items() if ADVICE in why]
        return f" ({'; '.join(absent)})" if absent else ""

    def _range(self, name: str) -> str:
        sizes = sorted(size for size, timed in self.sizes.items() if timed.runtime == name)
        if len(sizes) == len(self.sizes):
            return "every batch"
        return "batches of " + ", ".join(map(str, sizes))

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)


def model_folder(home: Path, version: str) -> Path:
    """Where the export and the choices of a model lie, below the folder of all runtimes."""
    return home / version.replace(":", "-").replace("/", "-")


def choice_path(folder: Path, policy: Policy, of: Mapping[str, Any]) -> Path:
    """The file of the choice for a machine."""
    return folder / f"{policy}-{fingerprint(of)}.json"


def store_choice(folder: Path, choice: Choice) -> None:
    """Write the choice; a reader gets the old one or the new one."""
    content = json.dumps(choice.as_json(), indent=1, allow_nan=False).encode()
    write_atomically(choice_path(folder, choice.policy, choice.machine), content)


def load_choice(folder: Path, digest: str, policy: Policy, *, threads: int) -> Choice | None:
    """The choice for this very model, machine and policy; None before a probe."""
    here = machine(threads)
    choice = _read(choice_path(folder, policy, here))
    if choice is None or (choice.digest, choice.machine) != (digest, here):
        return None
    return choice


def choices(folder: Path) -> Iterator[Choice]:
    """The choices for a model, the newest first, on whatever machines."""
    known = [choice for path in folder.glob("*-*.json") if (choice := _read(path)) is not None]
    yield from sorted(known, key=lambda choice: choice.at, reverse=True)


def choice_of(text: str | bytes) -> Choice | None:
    """The choice in a text of JSON; None where it is damaged."""
    try:
        written = json.loads(text)
        sizes = {int(size): Timed(**timed) for size, timed in written.pop("sizes").items()}
        agreement = {name: Agreement(**one) for name, one in written.pop("agreement").items()}
        policy = Policy(written.pop("policy"))
        choice = Choice(**written, policy=policy, sizes=sizes, agreement=agreement)
        is_whole = sizes and agreement.keys() >= set(choice.runtimes) - {EAGER}
        return choice if is_whole else None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None


def _read(path: Path) -> Choice | None:
    """The choice in a file; None where there is none or it is damaged: it is made again."""
    try:
        return choice_of(path.read_bytes())
    except OSError:
        return None
