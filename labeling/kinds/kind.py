"""What a label kind decides; whoever works with labels is handed a `Kind` and asks it.

The split with `labeling/studio`: a kind knows its labelling screen and the `result` list inside an
annotation or a prediction. Everything around these (tasks, annotations, predictions, people,
projects, export files, the API) is `labeling/studio`'s alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from core.hone_toml import LabelClass
from labeling.consensus.settle import SettlePolicy

Result = list[dict[str, Any]]  # Label Studio's JSON: the regions of an annotation or a prediction


class UnusableAnswer(ValueError):
    """An annotation that no label can rest on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Kind(Protocol):
    """A kind of label. Its value is one text in the ledger: of an answer, a label, a truth."""

    @property
    def snapshot_columns(self) -> Mapping[str, str]:
        """The columns of a snapshot that hold the label, each with its type's name in arrow."""

    @property
    def formats(self) -> tuple[str, ...]:
        """The names of READERS and WRITERS that can hold such labels."""

    def screen(self, classes: Sequence[LabelClass]) -> str:
        """The labelling screen, as Label Studio's XML."""

    def classes_on_screen(self, controls: Mapping[str, Any]) -> set[str]:
        """The classes offered by a screen that Label Studio has parsed into its `controls`."""

    def result_of(self, value: str) -> Result:
        """A value as the result of an annotation or a prediction."""

    def value_of(self, result: object, classes: Collection[str]) -> str:
        """The value that a result of our own screen holds; else an `UnusableAnswer`."""

    def value_of_export(self, result: object) -> str:
        """The value in a result of any project's export, its classes unchecked.

        `result` is a list of regions, or the plain value that JSON-MIN has in its place.
        """

    def classes_in(self, result: object) -> set[str]:
        """Every class that a result names, whatever else is in it."""

    def classes_of(self, value: str) -> set[str]:
        """Every class that a value names."""

    def snapshot_values(self, value: str) -> Mapping[str, object]:
        """A value in the `snapshot_columns`."""

    def resolve(
        self,
        answers: pd.DataFrame,
        policy: SettlePolicy,
        *,
        classes: Sequence[str] | None = None,
        probs: pd.DataFrame | None = None,
        gold: pd.Series | None = None,
    ) -> pd.DataFrame:
        """The label of each sample with its trust; a missing label means: ask again."""

    def agreement(self, one: str, other: str) -> float:
        """How far two values say the same: 0 not at all, 1 entirely."""
