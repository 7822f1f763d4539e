"""One class for each image: outputs are class probabilities in the order of the model's classes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.kinds.kind import Answer, Truths

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

OFF_BY = 1e-3  # a row of probabilities sums to one, within this


class Classification:
    """Softmax over a linear head, cross-entropy, credit 1 for the right class and else 0."""

    name = "classification"
    screen_tag, choice_tag = "Choices", "Choice"

    def head(self, width: int, classes: int) -> "nn.Module":
        """A linear layer."""
        from torch import nn

        return nn.Linear(width, classes)

    def output_width(self, classes: int) -> int:
        """One probability for each class."""
        return classes

    def targets(
        self, rows: "pd.DataFrame", classes: Sequence[str], *, soft: np.ndarray | None = None
    ) -> "torch.Tensor":
        """Class numbers; rows of probabilities [n, classes] as soon as one row is soft."""
        import torch.nn.functional as F

        numbers = target_numbers(rows["label"], classes)
        if soft is None or not soft.any():
            return numbers
        targets = F.one_hot(numbers, len(classes)).float()
        targets[soft.tolist()] = _soft_targets(rows.loc[soft, "probs"], classes)
        return targets

    def loss(
        self,
        raw: "torch.Tensor",
        targets: "torch.Tensor",
        *,
        smoothing: "float | torch.Tensor" = 0.0,
    ) -> "torch.Tensor":
        """Cross-entropy of each image, computed in fp32."""
        import torch.nn.functional as F

        losses = F.cross_entropy(raw.float(), targets, reduction="none")
        if isinstance(smoothing, float) and not smoothing:
            return losses
        even = -raw.float().log_softmax(dim=-1).mean(dim=-1)
        return losses + smoothing * (even - losses)

    def scaled(self, raw: "torch.Tensor", temperature: "float | torch.Tensor") -> "torch.Tensor":
        """The logits divided by the temperature, in fp32: their order stays."""
        return raw.float() / temperature

    def outputs(self, raw: "torch.Tensor") -> "torch.Tensor":
        """Softmax over the last dimension, computed in fp32."""
        return raw.float().softmax(-1)

    def problems(self, outputs: np.ndarray, rows: int, classes: Sequence[str]) -> list[str]:
        """Shape, finite numbers, rows that sum to one."""
        shape = rows, len(classes)
        if np.shape(outputs) != shape:
            return [f"probabilities are {np.shape(outputs)}; {shape} is needed"]
        broken = int((~np.isfinite(outputs).all(axis=1)).sum())
        if broken:
            return [f"no finite answer for {broken} of {len(outputs)} rows"]
        if (outputs < 0).any() or (np.abs(outputs.sum(axis=1) - 1) > OFF_BY).any():
            return ["the rows are no probabilities: they do not sum to one"]
        return []

    def unknown_truths(self, truths: Truths, classes: Sequence[str]) -> list[Any]:
        """Truths that are no class of the model."""
        known = set(classes)
        return [truth for truth in truths if truth not in known]

    def credit(self, outputs: np.ndarray, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """1 where the most probable class is the truth, else 0."""
        predicted = np.asarray(classes, dtype=object)[outputs.argmax(axis=1)]
        return np.asarray(predicted == np.asarray(truths, dtype=object), dtype=float)

    def constant_credit(self, truths: Truths, weights: np.ndarray) -> float:
        """The weighted share of the most frequent class."""
        names = np.asarray(truths, dtype=object)
        return max(float(weights[names == name].sum()) for name in set(truths))

    def groups(self, truths: Truths) -> dict[str, np.ndarray]:
        """The rows of each class."""
        names = np.asarray(truths, dtype=object)
        return {f"class {name}": names == name for name in sorted(set(truths))}

    def probabilities(self, outputs: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """The outputs themselves."""
        return outputs

    def answers(self, outputs: np.ndarray, classes: Sequence[str]) -> list[Answer]:
        """The most probable class of each row, with its probability."""
        best = outputs.argmax(axis=1) if len(outputs) else np.empty(0, int)
        return [
            Answer(classes[number], float(row[number]))
            for row, number in zip(outputs, best, strict=True)
        ]

    def confusion(self, outputs: np.ndarray, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """Truths in rows, predicted classes in columns, in the order of `classes`."""
        numbers = {name: number for number, name in enumerate(classes)}
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, ([numbers[truth] for truth in truths], outputs.argmax(1)), 1)
        return counts

    def views(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The probability of each class."""
        return {"probabilities": outputs}

    def class_numbers(self, truths: Truths, classes: Sequence[str]) -> np.ndarray:
        """The number of each class."""
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers.get(truth, -1) for truth in truths], np.int64)

    def annotation(self, label: str) -> dict[str, Any]:
        """A single choice."""
        return {"type": "choices", "value": {"choices": [label]}}

    def served(self, output: Sequence[float], classes: Sequence[str]) -> dict[str, Any]:
        """Label, confidence and the probability of every class."""
        best = int(np.argmax(output))
        return {
            "label": classes[best],
            "confidence": output[best],
            "probabilities": dict(zip(classes, output, strict=True)),
        }


def target_numbers(labels: "pd.Series", classes: Sequence[str]) -> "torch.Tensor":
    """The class number of each label; a label that is no class is an error that names it."""
    import torch

    numbers = {name: number for number, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if label not in numbers})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no class; the classes are {', '.join(classes)}")
    return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)


def _soft_targets(probs: "pd.Series", classes: Sequence[str]) -> "torch.Tensor":
    """The pseudo-labels of soft rows, [n, classes], rescaled over the current classes."""
    import torch

    rows = [json.loads(text) for text in probs]
    shares = torch.tensor([[row.get(name, 0.0) for name in classes] for row in rows])
    total = shares.sum(dim=1, keepdim=True)
    if not (torch.isfinite(shares).all() and (shares >= 0).all() and (total > 0).all()):
        raise ValueError(
            f"a soft row has no probability of the classes {', '.join(classes)}; cut a new snapshot"
        )
    return shares / total
