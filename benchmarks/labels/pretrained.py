"""Features of the product's pretrained backbone, EfficientNet-Lite0, as before the first model."""

from collections.abc import Callable

import numpy as np
import torch

from models.network.images import prepare
from models.network.weights import lite0_weights
from models.pretraining.pretrained import pretrained_network
from models.scoring.predict import predict


def encoder() -> Callable[[list[np.ndarray]], np.ndarray]:
    """The features of images by the pretrained network."""
    network, side = pretrained_network(lite0_weights())

    def encode(images: list[np.ndarray]) -> np.ndarray:
        pixels = torch.stack([prepare(image, side) for image in images])
        return predict(network, pixels, precision="bf16").embeddings

    return encode
