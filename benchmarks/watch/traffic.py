"""Hours of traffic of one pool: clean ones of the kinds that people have, and shifted ones."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.watch.features import FRAMES, SHIFTS, Pool
from models.watching.evidence import combine, restarted
from models.watching.groups import groups_of, nearest_strangers
from models.watching.martingale import martingale
from models.watching.signals import WatchPolicy, Window

KINDS = ("iid", "video", "ordered", "day and night", "duplicates", "a broken row")
POLICY = WatchPolicy()
REPEATS = 5  # of a duplicate


class Life:
    """Windows of one reference, drawn at random from the rows that are not in it."""

    def __init__(
        self, pool: Pool, kind: str, seed: int, *, rows: int = 200, reference: int = 1000
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.rows, self.pool, self.hour = kind, rows, pool, 0
        order = self.rng.permutation(len(pool.clean))
        whole, chosen = pool.clean, order[:reference]
        if kind == "video":  # what a camera was labelled on: frames of other scenes
            whole, chosen = pool.stills, self.rng.permutation(len(pool.stills))[:reference]
        self.reference = whole.take(chosen)
        self._rest = order[reference:]
        labels = pool.clean.labels
        assert labels is not None
        self._labels = labels[self._rest]
        self._nearness = nearest_strangers(self.reference.embeddings, rows)

    def window(self, shift: str | None = None) -> Window:
        """The next hour."""
        if shift is None:
            window = self._clean(self.rows)
        else:
            change, share = SHIFTS[shift]
            strange, count = self.pool.shifted[change], round(share * self.rows)
            drawn = self.rng.choice(len(strange), count, replace=count > len(strange))
            window = joined(strange.take(drawn), self._clean(self.rows - count))
        self.hour += 1
        groups = groups_of(self.reference.embeddings, window.embeddings, nearness=self._nearness)
        return replace(window, groups=groups, labels=None)

    def _clean(self, rows: int) -> Window:
        if self.kind == "video":
            scenes = self.rng.choice(len(self.pool.frames) // FRAMES, rows // FRAMES, False)
            frames = (scenes[:, None] * FRAMES + np.arange(FRAMES)).ravel()
            return self.pool.frames.take(frames)
        if self.kind == "duplicates":
            once = self.rng.choice(self._rest, rows // REPEATS, replace=False)
            return self.pool.clean.take(np.repeat(once, REPEATS))
        window = self.pool.clean.take(self.rng.choice(self._rest, rows, True, self._chances()))
        if self.kind == "a broken row":
            embeddings = window.embeddings.copy()
            embeddings[0, 3] = np.nan
            window = Window.of(window.outputs, embeddings, window.statistics)
        return window

    def _chances(self) -> np.ndarray | None:
        """The chance of each row, by its class."""
        if self.kind == "ordered":
            here = np.isin(self._labels, self.rng.choice(10, 3, replace=False)).astype(float)
        elif self.kind == "day and night":
            by_day = 0.75 if self.hour % 24 < 12 else 0.25
            here = np.where(self._labels < 5, by_day, 1 - by_day)
        else:
            return None
        return here / here.sum()


def joined(*windows: Window) -> Window:
    """The rows of all, without labels."""
    views = ("outputs", "embeddings", "statistics")
    return Window.of(*(np.concatenate([getattr(one, view) for one in windows]) for view in views))


def checks(life: Life, windows: Iterator[Window]) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Whether each check alarms, and its state; an alarm is answered, so evidence starts anew."""
    state: dict[str, Any] = {}
    for number, window in enumerate(windows, start=1):
        signals, state = martingale(life.reference, window, state, policy=POLICY, rng=life.rng)
        alarm = combine(signals, POLICY, number).alarm
        if alarm:
            state = restarted(state)
        yield alarm, {"signals": signals}
