"""Features of the product's pretrained backbone, EfficientNet-Lite0, as before the first model."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from models.network.images import prepare
from models.network.weights import lite0_weights
from models.pretraining.feature_runtime import AT_ONCE, MANY, TRIED, FeatureRuntimes
from models.pretraining.pretrained import pretrained_network
from models.runtimes.policy import Policy
from models.scoring.predict import predict


def encoder() -> Callable[[list[np.ndarray]], np.ndarray]:
    """The features of images by the pretrained network, in the runtime that the product chooses."""
    network, side = pretrained_network(lite0_weights())
    threads, chosen = torch.get_num_threads(), None

    def encode(images: list[np.ndarray]) -> np.ndarray:
        nonlocal chosen
        pixels = torch.stack([prepare(image, side) for image in images])
        if chosen is None:
            with TemporaryDirectory() as folder:
                runtimes = FeatureRuntimes(
                    network, side, Path(folder), threads=threads, policy=Policy.AUTO
                )
                chosen = runtimes.fastest(pixels[:TRIED], MANY)
        if chosen.compute is not None:
            return chosen.compute(pixels).embeddings
        parts = pixels.split(AT_ONCE)
        return np.concatenate(
            [
                predict(network, part, precision=chosen.precision, threads=threads).embeddings
                for part in parts
            ]
        )

    return encode
