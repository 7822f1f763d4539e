"""The protocol of what computes a model's predictions, and the one that is always there: torch."""

import copy
from typing import Protocol

import torch

from models.network.network import Network
from models.network.precision import Precision, threads_set
from models.runtimes.choice import EAGER
from models.scoring.predict import Predictions, predict, predict_batch


class Runtime(Protocol):
    """Computes the predictions of one model; several threads may use it at once."""

    @property
    def name(self) -> str:
        """The name that is shown."""

    @property
    def key(self) -> str:
        """What tells its predictions from those of other runtimes; empty for the reference."""

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images [n, 3, s, s]: outputs, temperature and all, and
        embeddings.

        Values that are not finite are an error.
        """


class Torch:
    """Eager torch in fp32: the reference."""

    def __init__(self, network: Network, *, threads: int, version: str = "the model") -> None:
        self.name, self.key = EAGER, ""
        self._network, self._threads, self._version = network, threads, version

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images."""
        return predict(self._network, images, threads=self._threads, name=self._version)


class TorchVariant:
    """Torch with another memory layout or number format, on a copy of the network."""

    def __init__(self, name: str, network: Network, precision: Precision, *, threads: int) -> None:
        self.name = self.key = name
        self._precision, self._threads = precision, threads
        self._network = copy.deepcopy(network)
        precision.place(self._network).eval()

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images."""
        with threads_set(self._threads):
            batch = self._precision.put(images)
            return predict_batch(self._network, batch, self._precision, name=self.name)
