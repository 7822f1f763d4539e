"""The outputs of a model whose classes are others than those it is compared on."""

from collections.abc import Sequence

import numpy as np


def aligned_outputs(
    outputs: np.ndarray, classes: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    """The outputs with a column for each class that is `wanted`, nothing for one it does not know.

    A model that can say a class that is not wanted is left as it is: its outputs do not fit, and
    no comparison takes them.
    """
    if list(classes) == list(wanted) or not set(classes) <= set(wanted):
        return outputs
    if outputs.shape[1] != len(classes):
        raise ValueError(f"outputs are {outputs.shape}, for {len(classes)} classes")
    joined = np.zeros((len(outputs), len(wanted)), outputs.dtype)
    joined[:, [list(wanted).index(name) for name in classes]] = outputs
    return joined
