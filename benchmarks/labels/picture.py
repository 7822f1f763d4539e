"""The picture of the table: curves of random, `auto`, the best single strategy and the oracle."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labels.play import ORACLE, RANDOM
from benchmarks.labels.report import LEVEL, LOOP, Cell, best_single, cells

STYLES = {"random": ("0.4", 2.0), "auto": ("C3", 2.5), ORACLE: ("0.75", 1.2)}


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """One row for each set and kind of features, one column for each regime."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    played = [cell for cell in cells(lines) if cell.key[2] != LOOP]
    if not played:
        return
    rows = list(dict.fromkeys(cell.key[:2] for cell in played))
    columns = list(dict.fromkeys(cell.key[2] for cell in played))
    size = 4.2 * len(columns), 3.4 * len(rows)
    figure, axes = pyplot.subplots(
        len(rows), len(columns), figsize=size, squeeze=False, layout="constrained"
    )
    for each in axes.flat:
        each.set_axis_off()
    for cell in played:
        place = axes[rows.index(cell.key[:2])][columns.index(cell.key[2])]
        place.set_axis_on()
        _draw_cell(cell, place)
        place.set_title(f"{cell.key[0]}, {cell.key[2]}", fontsize=9)
    figure.suptitle("accuracy on the test images by number of labels (label ratio in brackets)")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _draw_cell(cell: Cell, place: Any) -> None:
    auto = cell.ratio("auto")
    best = best_single(cell, (auto.seeds + 1) // 2 if auto else 1)
    for name in ("random", best, ORACLE, "auto"):
        curves = cell.chance if name == "random" else cell.curves.get(name or "", {})
        seeds = cell.curves.get("auto", curves)  # the same pools for all lines
        curves = {seed: curve for seed, curve in curves.items() if seed in seeds}
        if not curves:
            continue
        stacked = np.stack(list(curves.values()))[:, : len(cell.steps)]
        mean, spread = stacked.mean(axis=0), stacked.std(axis=0) / np.sqrt(len(stacked))
        found = None if name in RANDOM else cell.ratio(str(name))
        label = f"{name} ({found.value:.2f})" if found else str(name)
        colour, width = STYLES.get(str(name), ("C0", 1.4))
        place.plot(cell.steps, mean, color=colour, linewidth=width, label=label)
        place.fill_between(cell.steps, mean - spread, mean + spread, alpha=0.15, color=colour)
    place.axvline(LEVEL * cell.steps[-1], color="0.85", linewidth=0.8, zorder=0)
    place.legend(fontsize=7, loc="lower right")
