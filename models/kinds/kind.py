"""The protocol of a label kind for training, scoring, judging, serving and watching."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn


Truths = Sequence[Any] | np.ndarray  # in the form that the ledger has labels in


@dataclass(frozen=True)
class Answer:
    """The short form of one prediction: a label and its confidence from 0 to 1."""

    label: str
    confidence: float


class Kind(Protocol):
    """One label kind. `outputs` is float32 [images, numbers]: its columns mean what the kind says.

    Truths and labels are in the form the ledger has them. Nothing here imports torch before a
    method that takes or returns tensors is called.
    """

    name: str
    screen_tag: str  # of the control in a labelling screen that takes a pre-annotation
    choice_tag: str  # of each class within it

    def head(self, width: int, classes: int) -> "nn.Module":
        """The trainable part on embeddings of this width."""

    def output_width(self, classes: int) -> int:
        """How many numbers `outputs` has for an image."""

    def targets(
        self, rows: "pd.DataFrame", classes: Sequence[str], *, soft: np.ndarray | None = None
    ) -> "torch.Tensor":
        """The targets of the loss, one for each row; `soft` rows have `probs`, not a label."""

    def loss(
        self,
        raw: "torch.Tensor",
        targets: "torch.Tensor",
        *,
        smoothing: "float | torch.Tensor" = 0.0,
    ) -> "torch.Tensor":
        """The loss of each image; `smoothing`, of all or each, goes to the other outputs."""

    def scaled(self, raw: "torch.Tensor", temperature: "float | torch.Tensor") -> "torch.Tensor":
        """What the head returns, more certain (below 1) or less, with the same answers."""

    def outputs(self, raw: "torch.Tensor") -> "torch.Tensor":
        """The outputs that are stored and served, from what the head returns."""

    def problems(self, outputs: np.ndarray, rows: int, classes: Sequence[str]) -> list[str]:
        """The reasons why these are not valid outputs of `rows` images; empty when they are."""

    def unknown_truths(self, truths: Truths, classes: Sequence[str]) -> list[Any]:
        """The truths that no output of these classes could match."""

    def credit(self, outputs: np.ndarray, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """The credit of each image's output, from 0 to 1: what verdicts and estimates average."""

    def constant_credit(self, truths: Truths, weights: np.ndarray) -> float:
        """The mean credit of the best model that gives every image the same output."""

    def groups(self, truths: Truths) -> dict[str, np.ndarray]:
        """Masks of rows by name: the groups on which a model is also compared separately."""

    def probabilities(self, outputs: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Float32 [images, classes], rows summing to one: what selection strategies take."""

    def answers(self, outputs: np.ndarray, classes: Sequence[str]) -> list[Answer]:
        """The label of each image, with its confidence."""

    def confusion(self, outputs: np.ndarray, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """Counts of rows by truth (row) and predicted class (column)."""

    def views(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The columns that drift detectors test beside the embeddings, by view."""

    def class_numbers(self, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """The class of each truth that strategies count, as its number; -1 where there is none."""

    def annotation(self, label: str) -> dict[str, Any]:
        """The type and the value of a region in Label Studio that says `label`."""

    def served(self, output: Sequence[float], classes: Sequence[str]) -> dict[str, Any]:
        """The JSON of one prediction as clients of the service get it."""
