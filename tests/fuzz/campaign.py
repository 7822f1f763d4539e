"""A campaign: damaged inputs for a target, and what became of each.

Only two outcomes are right: a result, or a refusal that our own code words. An exception of a
library, or of Python, is a crash; so are too much work and a different outcome for the same bytes.
"""

import hashlib
import io
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from core.errors import HoneError
from core.images import ImageRefused
from labeling.kinds import UnusableAnswer
from models.serving.requests import RequestError
from models.serving.staged_images import Unreadable
from tests.counted_work import lines_run
from tests.fuzz.mutation import damaged
from tests.fuzz.targets import TARGETS, Act, Target
from tests.source_code import ROOT

REFUSALS = (HoneError, ImageRefused, RequestError, Unreadable, UnusableAnswer, ValueError, OSError)
OURS = tuple(str(ROOT / name) for name in ("core", "labeling", "models", "tasks", "tests"))
REPEATED = 16  # every how many inputs one is given twice
CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Crash:
    """An input with an outcome that is neither a result nor a named refusal."""

    target: str
    content: bytes
    problem: str

    @property
    def name(self) -> str:
        """The name of its file in a corpus."""
        return f"{hashlib.sha256(self.content).hexdigest()[:16]}.{self.target.replace(' ', '-')}"


@dataclass
class Tally:
    """What became of the inputs of a target."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, Crash] = field(default_factory=dict)  # the first at each place


def run(name: str, *, seed: int, inputs: int, goes_on: Callable[[], bool] = lambda: True) -> Tally:
    """Give a target its whole inputs and then damaged ones, as many or as long as it goes on."""
    tally = Tally()
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="hone-fuzz-") as folder:
        act = target.open(Path(folder))
        for content in _inputs(name, target, seed, inputs):
            if not goes_on():
                break
            tally.inputs += 1
            outcome = outcome_of(act, target, content)
            if tally.inputs % REPEATED == 0 and outcome_of(act, target, content) != outcome:
                outcome = "crash: the same bytes had another outcome"
            tally.outcomes[outcome.split(" at ")[0]] += 1
            if outcome.startswith("crash"):
                place = outcome.split(" at ")[-1] if " at " in outcome else "work"
                tally.crashes.setdefault(place, Crash(name, content, outcome))
    return tally


def outcome_of(act: Act, target: Target, content: bytes) -> str:
    """`taken`, the class and the place of a refusal, or `crash` with its problem."""
    try:
        result, lines = lines_run(lambda: _result(act, content))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return f"crash: {type(error).__name__} {str(error)[:60]!r} at {place}"
    if lines > target.lines + target.lines_per_byte * len(content):
        return f"crash: {lines // max(len(content), 1)} lines for each byte"
    return str(result)


def _result(act: Act, content: bytes) -> str:
    try:
        with redirect_stdout(io.StringIO()):
            result = act(content)
    except REFUSALS as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        if not last.filename.startswith(OURS):
            raise
        result = error
    if isinstance(result, Exception):
        return f"refused: {type(result).__name__} {getattr(result, 'reason', '')}".strip()
    return "taken"


def _inputs(name: str, target: Target, seed: int, inputs: int) -> Iterator[bytes]:
    whole = [*target.seeds()]
    yield from whole
    endings = f".{name.replace(' ', '-')}"
    yield from (path.read_bytes() for path in sorted(CORPUS.glob(f"*{endings}")))
    for number in range(inputs):
        random = Random(f"{seed}:{name}:{number}")
        yield damaged(random.choice(whole), whole, random)
