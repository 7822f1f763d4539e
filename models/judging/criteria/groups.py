"""Whether any class or slice loses, though the whole may gain.

Rows of all populations and the answers of the duel are counted together, each group of
near-duplicates once. A loss is significant by the exact one-sided sign test at Holm's level over
all classes and slices on which the models differ at all. A class that looks as if it fell by half
of `class_margin` or more, and of which too little is known to tell, is UNKNOWN: a few more of it
are asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from core.intervals import Interval, wilson
from core.text import counted
from models.judging.compare import difference_of, one_sided_sign_test
from models.judging.criterion import Criterion, Status, bounds
from models.judging.gate_evidence import Evidence, Rows
from models.judging.verdict import GatePolicy

Cells = tuple[int, int, int, int]  # rows: both right, only the challenger, only the champion, none
NONE: Cells = (0, 0, 0, 0)
CLASS = "class "  # begins the name of a class's group (`Kind.groups`)
FEWEST = 5  # random rows of a slice: one of fewer is no group to tell anything about
SUSPECT = 0.25  # of the sign test: two rows lost and none won, or three lost and none or one won

EVEN = 0.5  # of the sign test with what was wrongly taken for the class: more lost than won


@dataclass(frozen=True)
class _Group:
    """A class or a slice: both credits of its random rows, and of its answers in the duel."""

    name: str
    challenger: np.ndarray
    champion: np.ndarray
    asked_challenger: np.ndarray
    asked_champion: np.ndarray
    mistaken: tuple[int, int] = (0, 0)  # other answers that champion, challenger took for it

    @property
    def may_have_fallen(self) -> bool:
        """Whether rows and answers look like a fall, also beside what was wrongly taken for it.

        A champion that takes nearly everything for one class is right on all of that class, and
        whatever tells the others from it loses some.
        """
        lost = one_sided_sign_test(
            np.concatenate([self.champion, self.asked_champion, np.repeat([0, 1], self.mistaken)]),
            np.concatenate([self.challenger, self.asked_challenger,
                            np.repeat([1, 0], self.mistaken)]),
        )  # fmt: skip
        return self.p_worse <= SUSPECT and lost <= EVEN

    @property
    def p_worse(self) -> float:
        """The p-value against `not worse`, of rows and answers together."""
        champion = np.concatenate([self.champion, self.asked_champion])
        return one_sided_sign_test(
            champion, np.concatenate([self.challenger, self.asked_challenger])
        )

    @property
    def asked(self) -> tuple[int, int]:
        """How many answers of the duel were won and lost."""
        one, other = self.asked_challenger, self.asked_champion
        return int((one > other).sum()), int((one < other).sum())

    @property
    def differs(self) -> bool:
        """Whether the models have different credit anywhere."""
        return bool(
            (self.challenger != self.champion).any()
            or (self.asked_challenger != self.asked_champion).any()
        )


def classes_and_slices(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """No class and no slice loses significantly, by Holm over all; says where it cannot tell."""
    if evidence.champion is None:
        return []
    rows, asked = list(evidence.rows.values()), [evidence.answers]
    return judge_groups(
        cells_of(evidence, rows), cells_of(evidence, asked), policy,
        disagreement=evidence.disagreement,
    )  # fmt: skip


def judge_groups(
    rows: Mapping[str, Cells],
    asked: Mapping[str, Cells],
    policy: GatePolicy,
    *,
    mistaken: Mapping[str, tuple[int, int]] | None = None,
    disagreement: float | None = None,
) -> list[Criterion]:
    """The criterion of each class and slice, from counts of random rows and of a duel's answers.

    The rows of all classes together are all rows; so are their answers.
    """
    total, answers = (sum(map(sum, _classes(cells).values())) for cells in (rows, asked))
    groups = [
        _Group(name, *_credits(rows.get(name, NONE)), *_credits(asked.get(name, NONE)),
               (mistaken or {}).get(name, (0, 0)))
        for name in sorted({*rows, *_classes(asked)}, key=lambda name: (not _is_class(name), name))
    ]  # fmt: skip
    groups = [one for one in groups
              if _is_class(one.name) or FEWEST <= len(one.challenger) < total]  # fmt: skip
    lost = _significant({group.name: group.p_worse for group in groups if group.differs},
                        policy.alpha)  # fmt: skip
    scale = None if disagreement is None or not answers else disagreement * total / answers
    return [
        _criterion(group, policy, _loss(policy, group, answers, scale), lost=group.name in lost)
        for group in groups
    ]


def cells_of(evidence: Evidence, parts: Sequence[Rows | None]) -> dict[str, Cells]:
    """For each class and each value of a column, on how many rows which models are right."""
    masked = [_masked(evidence, *part) for part in _once(parts)]
    names = dict.fromkeys(f"{CLASS}{name}" for name in evidence.classes)
    names |= dict.fromkeys(name for part in masked for name in part[2])
    counts = {name: list(NONE) for name in names}
    for challenger, champion, masks in masked:
        for name, mask in masks.items():
            cells = zip(challenger[mask] > 0, champion[mask] > 0, strict=True)
            for one, other in cells:
                counts[name][2 * (not one) + (not other)] += 1
    return {name: (cells[0], cells[1], cells[2], cells[3]) for name, cells in counts.items()}


def rows_to_see(loss: float, differing: float, alpha: float) -> int:
    """The rows with which the interval excludes this loss, if the models differ on such a share."""
    z = NormalDist().inv_cdf(1 - alpha / 2) ** 2
    return math.ceil(max(z * differing / loss**2, z * (1 / loss - 1)))


def _significant(p_values: dict[str, float], alpha: float) -> set[str]:
    """The names that Holm's procedure rejects."""
    rejected = set()
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] > alpha / (len(p_values) - place):
            break
        rejected.add(name)
    return rejected


def _loss(policy: GatePolicy, group: _Group, answers: int, scale: float | None) -> Interval | None:
    """The loss of a class or slice as far as rows or answers bound it; None without random rows.

    A duel asks about the share of all images on which the models differ: what of these the class
    lost, divided by the class's share of all images, is its loss. The lower upper bound counts.
    """
    rows = len(group.challenger)
    if not rows:
        return None
    gain = difference_of(group.challenger, group.champion, alpha=policy.alpha)
    loss = Interval(-gain.value, -gain.high, -gain.low, rows)
    if scale is None or not _is_class(group.name):
        return loss
    won, lost = group.asked
    most = scale * answers / rows * wilson(lost / answers, answers, policy.alpha)[1]
    return Interval(scale * (lost - won) / rows, loss.low, min(most, loss.high), rows)


def _criterion(
    group: _Group, policy: GatePolicy, loss: Interval | None, *, lost: bool
) -> Criterion:
    rows, p = len(group.challenger), group.p_worse
    excluded = loss is not None and loss.high < policy.class_margin
    looks_lost = group.may_have_fallen and (loss is None or loss.value >= policy.class_margin / 2)
    missing = _missing(group, policy)
    what, remedy = _numbers(group), ""
    if lost:
        status, what = Status.FAIL, f"significantly worse: {what}, p = {p:.2g}"
        remedy = f"more labels of {group.name} to train on"
    elif looks_lost and not excluded:
        status, what = Status.UNKNOWN, f"may have fallen: {what}, p = {p:.2g}"
        remedy = f"{counted(missing, 'more label')} of {group.name}"
    elif not excluded:
        status = Status.UNKNOWN if policy.strict_groups else Status.PASS
        what = f"cannot tell a loss of {policy.class_margin:g}: {what}"
        remedy = f"{counted(missing, 'more label')} of {group.name} would tell"
    else:
        status = Status.PASS
    difference = _difference(group, policy)
    numbers = {"rows": rows} if difference is None else bounds(difference)
    kind = "classes" if _is_class(group.name) else "slices"
    return Criterion(
        kind, status, what, population=group.name, threshold=-policy.class_margin, remedy=remedy,
        **numbers,
    )  # fmt: skip


def _difference(group: _Group, policy: GatePolicy) -> Interval | None:
    if not len(group.challenger):
        return None
    return difference_of(group.challenger, group.champion, alpha=policy.alpha)


def _missing(group: _Group, policy: GatePolicy) -> int:
    rows = len(group.challenger)
    differing = float((group.challenger != group.champion).mean()) if rows else 0.0
    return max(1, rows_to_see(policy.class_margin, differing, policy.alpha) - rows)


def _numbers(group: _Group) -> str:
    rows, asked = len(group.challenger), len(group.asked_challenger)
    answers = f" and {asked} answers" if asked else ""
    if not rows:
        return f"{group.name} has no rows{answers}"
    return (
        f"{group.name} {group.champion.mean():.3f} -> {group.challenger.mean():.3f}, "
        f"{rows} rows{answers}"
    )


_Masked = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def _masked(evidence: Evidence, rows: Rows, mask: np.ndarray) -> _Masked:
    """Both credits of the rows that count, and the rows of each group among them."""
    challenger, champion = evidence.credits(rows)
    masks = dict(evidence.kind.groups(rows.truths))
    for column, values in rows.slices.items():
        cells = np.asarray(values, dtype=object)
        masks |= {f"{column} {value}": cells == value for value in set(values) - {None}}
    return challenger[mask], champion[mask], {name: rows[mask] for name, rows in masks.items()}


def _credits(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Both credits of so many rows: both right, one, the other, neither."""
    return np.repeat([1.0, 1.0, 0.0, 0.0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)


def _is_class(name: str) -> bool:
    return name.startswith(CLASS)


def _classes(cells: Mapping[str, Cells]) -> dict[str, Cells]:
    return {name: counts for name, counts in cells.items() if _is_class(name)}


def _once(parts: Sequence[Rows | None]) -> list[tuple[Rows, np.ndarray]]:
    """The rows, with a mask of those whose group no earlier part has."""
    known: set[str] = set()
    counted = []
    for rows in parts:
        if rows is not None:
            counted.append((rows, np.array([one not in known for one in rows.group_ids], bool)))
            known |= set(rows.group_ids)
    return counted
