"""What the lines say: label ratios with intervals, `auto` beside the best, and the whole loop."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.labels.peers import REFUSED
from benchmarks.labels.play import ORACLE, RANDOM
from benchmarks.labels.regimes import REGIMES

LEVEL = 0.75  # of the budget: random's accuracy there is what the others must reach
RESAMPLES = 1_000
LOOP = "loop"
MARKS = REGIMES[-1].marks
AGAIN = "random again"  # half of the plays of random against the other half: must be 1
Curves = dict[int, np.ndarray]  # by seed


@dataclass(frozen=True)
class Ratio:
    """Labels random needs over labels the strategy needs; 0 where it never gets there."""

    value: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        if not self.value:
            return f"<{LEVEL:.2f} ({self.seeds})"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] {self.seeds}"


@dataclass(frozen=True)
class Cell:
    """Everything that was played in one regime of one set with one kind of features."""

    key: tuple[str, str, str]
    steps: list[int]
    beyond: list[int]  # steps of random choice
    curves: dict[str, Curves]

    @property
    def chance(self) -> Curves:
        """What random choice reaches on each pool: the mean of its plays there."""
        return _mean_of([self.curves[name] for name in RANDOM if name in self.curves])

    def ratio(self, name: str) -> Ratio | None:
        """The label ratio of a strategy, `AGAIN` among them; None where nothing was played."""
        chance, other = self.chance, self.curves.get(name, {})
        if name == AGAIN:
            plays = [self.curves[each] for each in RANDOM if each in self.curves]
            chance, other = _mean_of(plays[::2]), _mean_of(plays[1::2])
        if not set(chance) & set(other):
            return None
        return ratio(self.steps, chance, other)


def cells(lines: Iterable[dict[str, Any]]) -> list[Cell]:
    """The lines, by set, features and regime."""
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in lines:
        if "accuracy" in line:
            key = line["set"], line["features"], line["regime"]
            grouped.setdefault(key, []).append(line)
    return [_cell(key, group) for key, group in grouped.items()]


def _cell(key: tuple[str, str, str], lines: list[dict[str, Any]]) -> Cell:
    steps = min((line["labels"] for line in lines), key=len)
    curves: dict[str, Curves] = {}
    for line in lines:
        curves.setdefault(line["strategy"], {})[line["seed"]] = np.array(line["accuracy"])
        if line.get("student"):
            learnt = [line["student"].get(str(labels), np.nan) for labels in steps]
            name = f"{line['strategy']} + student"
            curves.setdefault(name, {})[line["seed"]] = np.array(learnt)
    return Cell(key, steps, max((line["labels"] for line in lines), key=len), curves)


def _mean_of(plays: Sequence[Curves]) -> Curves:
    """The mean of each seed over the plays that have it."""
    seeds = {seed for play in plays for seed in play}
    return {seed: np.mean([play[seed] for play in plays if seed in play], axis=0) for seed in seeds}


def ratio(steps: Sequence[int], chance: Curves, other: Curves) -> Ratio:
    """The label ratio over the seeds that both have, and its 5 to 95 % interval over seeds."""
    return _over_seeds([chance, other], lambda curves: _ratio(steps, curves[0], curves[1]))


def regret(cell: Cell, name: str, best: Curves) -> Ratio:
    """The label ratio of a strategy over that of other curves, with its interval over seeds."""

    def quotient(curves: list[np.ndarray]) -> float:
        one, other = (_ratio(cell.steps, curves[0], each) for each in curves[1:])
        return one / other if other else float(one > 0)

    return _over_seeds([cell.chance, cell.curves[name], best], quotient)


def _over_seeds(curves: Sequence[Curves], figure: Callable[[list[np.ndarray]], float]) -> Ratio:
    seeds = sorted(set.intersection(*(set(each) for each in curves)))
    stacked = [np.stack([each[seed] for seed in seeds]) for each in curves]
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(seeds), size=len(seeds)) for _ in range(RESAMPLES)]
    values = [figure([each[rows].mean(axis=0) for each in stacked]) for rows in drawn]
    low, high = np.quantile(values, [0.05, 0.95])
    value = figure([each.mean(axis=0) for each in stacked])
    return Ratio(value, float(low), float(high), len(seeds))


def _ratio(steps: Sequence[int], chance: np.ndarray, other: np.ndarray) -> float:
    rising_chance = rising(chance[: len(steps)])
    goal = float(np.interp(LEVEL * steps[-1], steps, rising_chance))
    labels = first(steps, rising(other), goal)
    return first(steps, rising_chance, goal) / labels if labels else 0.0


def rising(curve: np.ndarray) -> np.ndarray:
    """The nearest curve that never falls (isotonic): the luck of single steps evens out."""
    sums, counts = [], []
    for value in curve:
        sums.append(float(value))
        counts.append(1)
        while len(sums) > 1 and sums[-2] / counts[-2] > sums[-1] / counts[-1]:
            sums[-2:] = [sums[-2] + sums[-1]]
            counts[-2:] = [counts[-2] + counts[-1]]
    return np.repeat(np.array(sums) / counts, counts)


def first(steps: Sequence[int], curve: np.ndarray, goal: float) -> float:
    """The least number of labels at which the curve is at the goal; 0 if it never is."""
    above = np.flatnonzero(curve >= goal - 1e-12)
    if not len(above):
        return 0.0
    after = int(above[0])
    if after == 0:
        return float(steps[0])
    before = after - 1
    share = (goal - curve[before]) / (curve[after] - curve[before])
    return float(steps[before] + share * (steps[after] - steps[before]))


def singles(cell: Cell, seeds: int) -> list[str]:
    """The strategies with so many seeds; not `auto`, no oracle."""
    aside = {*RANDOM, "auto", ORACLE}
    names = [name for name in cell.curves if name not in aside and "+" not in name]
    return [name for name in names if len(set(cell.curves[name]) & set(cell.chance)) >= seeds]


def best_single(cell: Cell, seeds: int) -> str | None:
    """The strategy with the highest ratio of those with so many seeds."""
    names = singles(cell, seeds)
    return max(names, key=lambda name: _value(cell, name, set())) if names else None


def picked(cell: Cell, seeds: int) -> Curves:
    """For each seed the curve of the single strategy that is best on all the other seeds.

    The best of many on the seeds that it is judged by is partly luck; this one is not.
    """
    names = singles(cell, seeds)
    curves: Curves = {}
    for seed in cell.chance:
        there = [name for name in names if seed in cell.curves[name] and len(cell.curves[name]) > 1]
        if there:
            best = max(there, key=lambda name: _value(cell, name, {seed}))
            curves[seed] = cell.curves[best][seed]
    return curves


def _value(cell: Cell, name: str, without: set[int]) -> float:
    seeds = sorted((set(cell.chance) & set(cell.curves[name])) - without)
    means = (np.mean([curves[seed] for seed in seeds], axis=0)
             for curves in (cell.chance, cell.curves[name]))  # fmt: skip
    return _ratio(cell.steps, *means) if seeds else 0.0


def mean_of(values: Sequence[float]) -> float:
    """The geometric mean; 0 where one is."""
    return float(np.exp(np.mean(np.log(values)))) if all(values) else 0.0


def report(lines: list[dict[str, Any]]) -> None:
    """Print every table."""
    played = cells(lines)
    choosing = [cell for cell in played if cell.key[2] != LOOP]
    print(f"labels random needs / labels the strategy needs, for random's accuracy at {LEVEL:.0%}")
    print("of the budget; 5 to 95 % over seeds in brackets; number of seeds\n")
    for key in dict.fromkeys(cell.key[:2] for cell in choosing):
        _print_table(key, [cell for cell in choosing if cell.key[:2] == key])
    _print_regret(choosing)
    for cell in played:
        if cell.key[2] == LOOP:
            _print_loop(cell)
    for line in lines:
        if "refused" in line:
            print(f"not in {line['set']}, {line['regime']}: {line['strategy']}: {line['refused']}")
    for name, reason in REFUSED.items():
        print(f"not played: {name}: {reason}")


def _print_table(key: tuple[str, ...], row: list[Cell]) -> None:
    names = dict.fromkeys(name for cell in row for name in cell.curves if name not in RANDOM)
    ratios = {name: [cell.ratio(name) for cell in row] for name in [*names, AGAIN]}
    means = {name: mean_of([each.value if each else 0 for each in ratios[name]]) for name in ratios}
    print(f"{', '.join(key)}\n| strategy | {' | '.join(cell.key[2] for cell in row)} | mean |")
    print("|---" * (len(row) + 2) + "|")
    for name in sorted(ratios, key=lambda name: -means[name]):
        shown = [str(each) if each else "" for each in ratios[name]]
        print(f"| {name} | {' | '.join(shown)} | {means[name] or '':.4} |")
    print()


def _print_regret(choosing: list[Cell]) -> None:
    shares: dict[str, list[float]] = {"best": [], "picked": []}
    print("| cell | `auto` | the best single strategy | `auto` / best | `auto` / picked | oracle |")
    print("|---|---|---|---|---|---|")
    for cell in choosing:
        auto = cell.ratio("auto")
        seeds = (auto.seeds + 1) // 2 if auto else 0
        best = best_single(cell, seeds) if auto else None
        if not auto or not best:
            continue
        columns: list[Any] = [", ".join(cell.key), auto, f"{best} {cell.ratio(best)}"]
        for name, curves in (("best", cell.curves[best]), ("picked", picked(cell, seeds))):
            columns.append(regret(cell, "auto", curves) if curves else "")
            shares[name] += [columns[-1].value] if curves else []
        print(f"| {' | '.join(str(each) for each in [*columns, cell.ratio(ORACLE) or ''])} |")
    print("picked: the single strategy that is best on the other seeds")
    for name, values in shares.items():
        if values:
            what = f"geometric mean of `auto` / {name}"
            print(f"{what}: {mean_of(values):.2f}, least {min(values):.2f}")
    print()


def _print_loop(cell: Cell) -> None:
    """Labels that random choice and a plain head need, over the labels that were used."""
    marks = [mark for mark in MARKS if mark in cell.steps]
    print(f"{', '.join(cell.key)}: random and a plain head need so many times the labels")
    print(
        f"| used | {' | '.join(str(mark) for mark in marks)} |\n" + "|---" * (len(marks) + 1) + "|"
    )
    for name in sorted(set(cell.curves) - set(RANDOM)):
        shown = [_times(cell, name, mark) for mark in marks]
        print(f"| {name} | {' | '.join(shown)} |")
    print()


def _times(cell: Cell, name: str, mark: int) -> str:
    column = cell.steps.index(mark)

    def times(curves: list[np.ndarray]) -> float:
        labels = first(cell.beyond, rising(curves[0]), float(curves[1][column]))
        return (labels or cell.beyond[-1]) / mark

    found = _over_seeds([cell.chance, cell.curves[name]], times)
    accuracy = np.mean([curve[column] for curve in cell.curves[name].values()])
    beyond = ">= " if found.value * mark >= cell.beyond[-1] else ""
    return f"{accuracy:.3f}: {beyond}{found}"


def refused(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Set, features, regime and strategy of what cannot be played."""
    for line in lines:
        if "refused" in line:
            yield line["set"], line["features"], line["regime"], line["strategy"]
