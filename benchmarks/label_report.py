"""What the lines say: label ratios with intervals, a table and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from label_regimes import Regime

LEVEL = 0.75  # of the budget: random's accuracy there is what the others must reach
RESAMPLES = 1_000
Lines = Sequence[dict[str, Any]]
AGAIN = "random again"  # other draws: must come out as good as random


@dataclass(frozen=True)
class Ratio:
    """Labels random needs over labels the strategy needs; 0 where it never gets there."""

    value: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        if not self.value:
            return f"<{LEVEL:.2f} (never there)"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def curves(lines: Lines, regime: Regime) -> dict[str, dict[int, np.ndarray]]:
    """The accuracies of every strategy and seed in this regime."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for one in lines:
        if one["regime"] == regime.name and "accuracy" in one:
            found.setdefault(one["strategy"], {})[one["seed"]] = np.array(one["accuracy"])
    return found


def by_chance(found: dict[str, dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """What random reaches: the mean of its two plays where a seed has both, for less luck in it."""
    first, second = found.get("random", {}), found.get(AGAIN, {})
    return {seed: (first[seed] + second.get(seed, first[seed])) / 2 for seed in first}


def ratio(
    steps: Sequence[int], random: dict[int, np.ndarray], other: dict[int, np.ndarray], level: float
) -> Ratio:
    """The label ratio over the seeds that both have, and its 5 to 95 % interval over seeds."""
    seeds = sorted(set(random) & set(other))
    ours, theirs = np.stack([other[s] for s in seeds]), np.stack([random[s] for s in seeds])
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(seeds), size=len(seeds)) for _ in range(RESAMPLES)]
    values = [_ratio(steps, theirs[rows], ours[rows], level) for rows in drawn]
    low, high = np.quantile(values, [0.05, 0.95])
    return Ratio(_ratio(steps, theirs, ours, level), float(low), float(high), len(seeds))


def _ratio(steps: Sequence[int], random: np.ndarray, other: np.ndarray, level: float) -> float:
    chance = rising(random.mean(axis=0))
    goal = float(np.interp(level * steps[-1], steps, chance))
    labels = _first(steps, rising(other.mean(axis=0)), goal)
    return _first(steps, chance, goal) / labels if labels else 0.0


def rising(curve: np.ndarray) -> np.ndarray:
    """The nearest curve that never falls (isotonic): the luck of single steps evens out."""
    from sklearn.isotonic import IsotonicRegression

    fitted: np.ndarray = IsotonicRegression().fit_transform(np.arange(len(curve)), curve)
    return fitted


def _first(steps: Sequence[int], curve: np.ndarray, goal: float) -> float:
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


def report(
    lines: Lines, regimes: Sequence[Regime], refused: dict[str, str], picture: Path
) -> dict[str, dict[str, Ratio]]:
    """Print the table, the gate and who could not play; draw the curves."""
    table: dict[str, dict[str, Ratio]] = {}
    for regime in regimes:
        found = curves(lines, regime)
        for name, seeds in found.items():
            chance = found.get("random", {}) if name == AGAIN else by_chance(found)
            if set(seeds) & set(chance):
                got = ratio(regime.steps, chance, seeds, LEVEL)
                table.setdefault(name, {})[regime.name] = got
    _print_table(table, regimes)
    _print_gate(table, regimes)
    _print_refused(lines, refused)
    _draw(lines, regimes, table, picture)
    return table


def mean_of(row: dict[str, Ratio], regimes: Sequence[Regime]) -> float:
    """The geometric mean over the regimes; 0 where one is missing or never reached."""
    values = [row[regime.name].value if regime.name in row else 0 for regime in regimes]
    return float(np.exp(np.mean(np.log(values)))) if all(values) else 0.0


def _print_table(table: dict[str, dict[str, Ratio]], regimes: Sequence[Regime]) -> None:
    print("labels random needs / labels the strategy needs, for random's accuracy at")
    print(f"{LEVEL:.0%} of the budget; 5 to 95 % over seeds in brackets; number of seeds")
    print(f"{'strategy':<34}" + "".join(f"{regime.name:<27}" for regime in regimes) + "geo. mean")
    rank = sorted(table, key=lambda name: -mean_of(table[name], regimes))
    for name in rank:
        row = table[name]
        cells = [f"{row[r.name]} {row[r.name].seeds}" if r.name in row else "" for r in regimes]
        mean = mean_of(row, regimes)
        print(
            f"{name:<34}"
            + "".join(f"{cell:<27}" for cell in cells)
            + (f"{mean:.2f}" if mean else "")
        )


def _print_gate(table: dict[str, dict[str, Ratio]], regimes: Sequence[Regime]) -> None:
    for regime in regimes:
        got = table.get(AGAIN, {}).get(regime.name)
        if got:
            well = "holds" if got.low <= 1 <= got.high else "FAILS"
            print(f"gate, {regime.name}: random against random {got}: {well}")


def _print_refused(lines: Lines, refused: dict[str, str]) -> None:
    for one in lines:
        if "refused" in one:
            print(f"out of {one['regime']}: {one['strategy']}: {one['refused']}")
    for name, reason in refused.items():
        print(f"not played: {name}: {reason}")


def _draw(
    lines: Lines, regimes: Sequence[Regime], table: dict[str, dict[str, Ratio]], picture: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(regimes), figsize=(4.6 * len(regimes), 4.2), squeeze=False, layout="constrained"
    )
    for place, regime in zip(axes[0], regimes, strict=True):
        found = curves(lines, regime)
        best = [
            name for name in sorted(found, key=lambda n: -_value(table, n, regime)) if " " in name
        ]
        for name in ["random", *[n for n in best if n != AGAIN][:3], "auto"]:
            if name not in found:
                continue
            seeds = np.stack(list(found[name].values()))
            mean, spread = seeds.mean(axis=0), seeds.std(axis=0) / np.sqrt(len(seeds))
            style = {"random": ("0.4", 2.0), "auto": ("C3", 2.5)}.get(name, (None, 1.2))
            line = place.plot(regime.steps, mean, color=style[0], linewidth=style[1],
                              label=f"{name} ({_value(table, name, regime):.2f})")  # fmt: skip
            place.fill_between(regime.steps, mean - spread, mean + spread, alpha=0.15,
                               color=line[0].get_color())  # fmt: skip
        place.axvline(LEVEL * regime.budget, color="0.8", linewidth=0.8, zorder=0)
        place.set(title=regime.name, xlabel="labels")
        place.legend(fontsize=7, loc="lower right")
    axes[0][0].set_ylabel("accuracy on the test images")
    figure.suptitle("auto, random and the three best peers (label ratio in brackets)")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _value(table: dict[str, dict[str, Ratio]], name: str, regime: Regime) -> float:
    row = table.get(name, {})
    return row[regime.name].value if regime.name in row else 0.0
