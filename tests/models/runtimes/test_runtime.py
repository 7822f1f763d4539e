"""Runtimes of torch: eager is `predict` bit by bit, the variants are close to it."""

import numpy as np
import pytest
import torch

from models.network.precision import Precision
from models.runtimes.runtime import Torch, TorchVariant
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_network

IMAGES = torch.randint(
    0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def test_eager_torch_gives_the_bits_of_predict() -> None:
    network = make_network()
    given, expected = Torch(network, threads=1).predict(IMAGES), predict(network, IMAGES)
    assert np.array_equal(given.outputs, expected.outputs)
    assert np.array_equal(given.embeddings, expected.embeddings)


@pytest.mark.parametrize(
    ("precision", "bound"),
    [(Precision(channels_last=True), 1e-5), (Precision(bf16=True, channels_last=True), 0.02)],
)
def test_a_variant_of_torch_is_close_and_leaves_the_network_alone(
    precision: Precision, bound: float
) -> None:
    network = make_network()
    given = TorchVariant("variant", network, precision, threads=1).predict(IMAGES)
    expected = predict(network, IMAGES)
    assert np.abs(given.outputs - expected.outputs).max() < bound
    assert next(network.parameters()).dtype == torch.float32


def test_values_that_are_not_finite_are_an_error_of_the_variant() -> None:
    network = make_network()
    with torch.no_grad():
        next(network.head.parameters()).fill_(torch.nan)
    variant = TorchVariant("variant", network, Precision(channels_last=True), threads=1)
    with pytest.raises(ValueError, match="variant gave outputs that are not finite for 5 of 5"):
        variant.predict(IMAGES)
