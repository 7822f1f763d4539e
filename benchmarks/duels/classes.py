"""One class falls while the others rise: is it held, and what is held without reason?"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from models.judging.criteria.groups import CLASS, Cells, judge_groups
from models.judging.criterion import Status
from models.judging.verdict import GatePolicy

ROWS = 70  # of the gate, of an audit of 100
ROUNDS = range(25, 201, 25)  # answers after which the duel is looked at
CHAMPION = [0.9] * 10
CHALLENGERS = {
    "one class falls to .45, the others rise to .97": [0.97] * 3 + [0.45] + [0.97] * 6,
    "one class falls to .45, the others rise to .91": [0.91] * 3 + [0.45] + [0.91] * 6,
    "all rise to .95": [0.95] * 10,
    "equal": [0.9] * 10,
}
Answered = tuple[np.ndarray, np.ndarray, np.ndarray]  # truths, the challenger's and the champion's


def fallen_classes(lives: int) -> Iterator[dict[str, Any]]:
    """For each challenger the share of lives in which its classes hold it, and what that took."""
    for name, shares in CHALLENGERS.items():
        rng = np.random.default_rng(5)
        first, last, rounds = zip(*(_life(rng, shares) for _ in range(lives)), strict=True)
        yield {
            "challenger": name,
            "held after 25 answers": float(np.mean(first)),
            "held in the end": float(np.mean(last)),
            "further rounds": float(np.mean(rounds)),
        }


def _life(rng: np.random.Generator, shares: list[float]) -> tuple[bool, bool, int]:
    """Whether it is held after 25 answers, in the end, and how many rounds more were asked."""
    rows, pool = _cells(_answers(rng, ROWS, shares)), _answers(rng, 4000, shares)
    differs = pool[1] != pool[2]
    held = []
    for count in ROUNDS:
        asked: Answered = tuple(part[differs][:count] for part in pool)  # type: ignore[assignment]
        judged = judge_groups(
            rows, _cells(asked), GatePolicy(),
            mistaken=_mistaken(asked), disagreement=float(differs.mean()),
        )  # fmt: skip
        held.append(any(one.status != Status.PASS for one in judged))
        if not held[-1] or any(one.status == Status.FAIL for one in judged):
            break
    return held[0], held[-1], len(held) - 1


def _answers(rng: np.random.Generator, count: int, shares: list[float]) -> Answered:
    """What both say of random rows; they tend to be right on the same ones."""
    truths, common = rng.integers(0, 10, count), rng.random(count)
    said = []
    for each in (shares, CHAMPION):
        right = (common < np.array(each)[truths]) ^ (rng.random(count) < 0.04)
        said.append((truths + ~right) % 10)
    return truths, said[0], said[1]


def _cells(answered: Answered) -> dict[str, Cells]:
    truths, challenger, champion = answered
    cells = {}
    for number in range(10):
        mine = truths == number
        one, other = challenger[mine] == number, champion[mine] == number
        counts = [(one & other), (one & ~other), (~one & other), (~one & ~other)]
        both, only_one, only_other, none = (int(part.sum()) for part in counts)
        cells[f"{CLASS}{number}"] = both, only_one, only_other, none
    return cells


def _mistaken(answered: Answered) -> dict[str, tuple[int, int]]:
    truths, challenger, champion = answered
    by_challenger = Counter(challenger[challenger != truths].tolist())
    by_champion = Counter(champion[champion != truths].tolist())
    return {f"{CLASS}{one}": (by_champion[one], by_challenger[one]) for one in range(10)}
