"""Simulated annotators with a known error rate: for the demo, for replays, for tests."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from core.database import now
from core.files import write_atomically
from labeling.ledger.answers import ANSWER_COLUMNS

SOURCE = "simulated"
ATTEMPTS = 6  # how often annotators who disagree answer again before it is left open
FILE = "simulated-annotators.json"  # in the workspace


@dataclass(frozen=True)
class Annotator:
    """An annotator who is wrong at a known rate; a mistake is any other class, all as likely."""

    name: str
    error_rate: float
    skip_rate: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an annotator has no name; give one")
        for rate in ("error_rate", "skip_rate"):
            if not 0 <= getattr(self, rate) <= 1:
                raise ValueError(f"{rate} of {self.name} is {getattr(self, rate)}; choose 0 to 1")


def simulate_answers(
    truths: pd.Series,
    classes: Sequence[str],
    annotators: Sequence[Annotator],
    *,
    seed: int,
    attempt: int = 0,
    round_id: str | None = None,
) -> pd.DataFrame:
    """One answer or skip of each annotator to each sample, as if read from their tool.

    `truths` maps sample_id to class. An answer depends on seed, name, sample and attempt alone, not
    on the other annotators or their order; a second attempt in a round edits the first
    answer, and each round has answers of its own.
    """
    _check(truths, classes, annotators)
    answered_at = now()
    rows = [
        {
            "source": SOURCE,
            "external_id": ":".join(filter(None, [str(sample_id), round_id, annotator.name])),
            "sample_id": sample_id,
            "annotator": annotator.name,
            **_answer(annotator, str(sample_id), truth, classes, key=f"{seed}:{attempt}"),
            "lead_time": None,  # nobody spent any
            "updated_at": answered_at,
            "round_id": round_id,
        }
        for sample_id, truth in truths.sort_index().items()
        for annotator in sorted(annotators, key=lambda someone: someone.name)
    ]
    return pd.DataFrame(rows, columns=ANSWER_COLUMNS, dtype=object)


def save_simulation(
    root: Path, truths: pd.Series, annotators: Sequence[Annotator], *, seed: int
) -> None:
    """Store simulated annotators in a workspace, with the true class of each image."""
    simulation = {
        "seed": seed,
        "annotators": [asdict(annotator) for annotator in annotators],
        "truths": truths.sort_index().to_dict(),
    }
    write_atomically(root / FILE, json.dumps(simulation, indent=0).encode())


def load_simulation(root: Path) -> tuple[pd.Series, list[Annotator], int]:
    """The truths, the annotators and the seed that `save_simulation` stored in a workspace."""
    try:
        simulation = json.loads((root / FILE).read_bytes())
    except FileNotFoundError as error:
        raise ValueError(
            f"{root} has no simulated annotators ({FILE}): the classes of its images are unknown; "
            "have annotators answer in Label Studio"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(root, error) from error
    try:
        annotators = [Annotator(**annotator) for annotator in simulation["annotators"]]
        truths = {sample_id: str(truth) for sample_id, truth in simulation["truths"].items()}
        return pd.Series(truths, dtype=object), annotators, int(simulation["seed"])
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise _damaged(root, error) from error


def _damaged(root: Path, error: Exception) -> ValueError:
    return ValueError(f"{root / FILE} is damaged ({error}); restore it from a backup")


def _answer(
    annotator: Annotator, sample_id: str, truth: str, classes: Sequence[str], *, key: str
) -> dict[str, str | None]:
    skips, errs, which = _uniforms(f"{key}:{sample_id}:{annotator.name}")
    if skips < annotator.skip_rate:
        return {"kind": "skip", "value": None}
    if errs >= annotator.error_rate:
        return {"kind": "answer", "value": truth}
    others = sorted(set(classes) - {truth})
    return {"kind": "answer", "value": others[int(which * len(others))]}


def _uniforms(key: str) -> list[float]:
    """Three numbers in [0, 1) that depend on `key` alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return [int.from_bytes(digest[i : i + 6], "big") / 2**48 for i in (0, 6, 12)]


def _check(truths: pd.Series, classes: Sequence[str], annotators: Sequence[Annotator]) -> None:
    unknown = sorted(set(truths) - set(classes))
    if unknown:
        raise ValueError(f"truths have {unknown}; the classes are {', '.join(classes)}")
    if truths.index.has_duplicates:
        twice = truths.index[truths.index.duplicated()][0]
        raise ValueError(f"sample {twice} has two truths; give one")
    names = [annotator.name for annotator in annotators]
    if len(set(names)) < len(names):
        raise ValueError(f"annotators are {', '.join(names)}; give each a name of their own")
    if len(set(classes)) < 2 and any(annotator.error_rate for annotator in annotators):
        raise ValueError(f"nobody can err among {len(set(classes))} classes; set error_rate to 0")
