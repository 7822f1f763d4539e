"""What a verdict rests on: labelled rows with the outputs of both models, and what was measured.

Every row stands for one near-duplicate group. Rows of a population are drawn at random from it;
answers of a duel are rows on which the two models disagree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.intervals import Interval
from models.kinds import DEFAULT, KINDS, Kind

if TYPE_CHECKING:
    from models.judging.duel import DuelState
    from models.judging.speed import Speed

POOL, TRAFFIC = "pool", "traffic"


@dataclass(frozen=True)
class Judged:
    """One of the two models: its version, what it was trained on, and how fast it is."""

    version: str
    training_groups: frozenset[str] = frozenset()
    speed: "Speed | None" = None


@dataclass(frozen=True)
class Scored:
    """The outputs of a model, and the samples that they are for, in the same order."""

    sample_ids: tuple[str, ...]
    outputs: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Labelled rows in one order, with what both models say of them."""

    sample_ids: tuple[str, ...]
    group_ids: tuple[str, ...]
    truths: tuple[Any, ...]
    challenger: Scored
    champion: Scored | None
    # column: the value of each row, None for a row that is in no slice of it
    slices: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def models(self) -> Iterator[tuple[str, Scored]]:
        """The outputs of each model, with its part in the comparison."""
        yield "challenger", self.challenger
        if self.champion is not None:
            yield "champion", self.champion


@dataclass(frozen=True)
class Evidence:
    """All that the criteria look at; what is None or absent was not measured."""

    challenger: Judged
    champion: Judged | None
    classes: tuple[str, ...]
    rows: Mapping[str, Rows]  # by population; those of traffic may be among those of the pool
    kind: Kind = KINDS[DEFAULT]
    number: int = 1  # of the tests of a gain in the life of the workspace
    duel: "DuelState | None" = None
    answers: Rows | None = None  # of the duel, on samples on which the models disagree
    disagreement: float | None = None  # share of images on which the models of the duel differ
    held_out: frozenset[str] = frozenset()  # groups of audit, gold and duel
    robustness: Mapping[str, Interval] | None = None  # kind of corruption: the difference

    @property
    def all_rows(self) -> list[Rows]:
        """The rows of every population, and the answers of the duel."""
        return [*self.rows.values(), *([self.answers] if self.answers is not None else [])]

    def population(self, named: str) -> str:
        """The population that must have rows: of `both` the pool; before a champion, always.

        Without a champion nothing was served, so that there is no traffic to measure on.
        """
        return TRAFFIC if named == TRAFFIC and self.champion is not None else POOL

    def credits(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The credit of challenger and champion for each row."""
        if rows.champion is None:
            raise ValueError("there is no champion to compare with: these rows have no outputs")
        challenger, champion = (
            self.kind.credit(model.outputs, rows.truths, self.classes)
            for model in (rows.challenger, rows.champion)
        )
        return challenger, champion
