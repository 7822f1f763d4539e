"""The runtime of a model in service: for each size of batch the one that was chosen for it."""

import logging
from collections.abc import Mapping

import torch

from models.runtimes.choice import Choice
from models.runtimes.machine import fingerprint
from models.runtimes.runtime import Runtime
from models.scoring.predict import Predictions, batch_sizes

LARGEST = 64  # images of a batch; more are split

logger = logging.getLogger("hone.service")


class ServedRuntime:
    """Answers with eager torch until a choice is known, and wherever what was chosen fails.

    A runtime that fails once, or gives a value that is not finite, answers no more.
    """

    def __init__(self, eager: Runtime) -> None:
        self._eager = eager
        self._chosen: dict[int, Runtime] = {}  # by the size of a batch; replaced as a whole
        # What computes each size of batch, and on what: the last digits depend on it.
        self.key = eager.key
        self.choice: Choice | None = None
        self.problem: str | None = None  # why torch answers in the place of another
        self.settled = False  # whether the choice was made, or given up

    @property
    def name(self) -> str:
        """The names of the runtimes that answer."""
        names = dict.fromkeys(runtime.name for _, runtime in sorted(self._chosen.items()))
        return " and ".join(names) or self._eager.name

    def use(self, chosen: Mapping[int, Runtime], choice: Choice) -> None:
        """Answer with these from the next batch on."""
        self.choice, self.problem = choice, None
        self._answer_with(dict(chosen), choice)

    def _answer_with(self, chosen: dict[int, Runtime], choice: Choice | None) -> None:
        self._chosen = chosen
        if not chosen or choice is None:
            self.key = self._eager.key
            return
        sizes = {size: runtime.name for size, runtime in sorted(chosen.items())}
        self.key = f"{sizes} on {fingerprint(choice.machine)}"

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images, in batches whose sizes are powers of two."""
        if not self._chosen or not len(images):
            return self._eager.predict(images)
        sizes = batch_sizes(len(images), LARGEST)
        if len(sizes) == 1:
            return self._piece(images)
        return Predictions.joined([self._piece(part) for part in images.split(sizes)])

    def _piece(self, images: torch.Tensor) -> Predictions:
        runtime = self._chosen.get(len(images), self._eager)
        if runtime is self._eager:
            return self._eager.predict(images)
        try:
            return runtime.predict(images)
        except Exception as error:  # of an engine: whatever it raises, torch answers
            self._drop(runtime, error)
            return self._eager.predict(images)

    def _drop(self, runtime: Runtime, error: Exception) -> None:
        self.problem = f"{runtime.name} failed and answers no more: {error}"
        logger.warning(self.problem)
        left = {size: one for size, one in self._chosen.items() if one is not runtime}
        self._answer_with(left, self.choice)
