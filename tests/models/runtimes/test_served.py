"""The runtime of a service: by the size of a batch, and torch wherever another fails."""

import numpy as np
import pytest
import torch

from models.runtimes.choice import Choice, Timed
from models.runtimes.policy import Policy
from models.runtimes.runtime import Runtime, Torch
from models.runtimes.served import ServedRuntime
from models.scoring.predict import Predictions, refuse_broken
from tests.models.saved_models import SIZE, make_network

IMAGES = torch.randint(
    0, 256, (100, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


class Fake:
    """Answers with a number of its own, and remembers the sizes of its batches."""

    def __init__(self, name: str, value: float = 0.5) -> None:
        self.name = self.key = name
        self.value, self.sizes = value, list[int]()

    def predict(self, images: torch.Tensor) -> Predictions:
        self.sizes.append(len(images))
        rows = Predictions(
            np.full((len(images), 3), self.value, np.float32),
            np.zeros((len(images), 512), np.float32),
        )
        refuse_broken(self.name, rows, 0)
        return rows


def choice(sizes: dict[int, Runtime]) -> Choice:
    timed = {size: Timed(runtime.name, 1.0, 3.0) for size, runtime in sizes.items()}
    return Choice("hone:1", "d", Policy.AUTO, {"threads": 1}, "now", 1.0, "images", timed)


def served(sizes: dict[int, Runtime]) -> ServedRuntime:
    runtime = ServedRuntime(Torch(make_network(), threads=1))
    runtime.use(sizes, choice(sizes))
    return runtime


def test_each_batch_goes_to_the_runtime_of_its_size() -> None:
    small, large = Fake("small"), Fake("large")
    runtime = served({1: small, 2: small, 4: small, 32: large, 64: large})
    assert len(runtime.predict(IMAGES)) == 100
    assert (small.sizes, large.sizes) == ([4], [64, 32])
    assert runtime.name == "small and large"


def test_torch_answers_sizes_for_which_nothing_was_chosen() -> None:
    large = Fake("large")
    runtime = served({64: large})
    given, expected = runtime.predict(IMAGES[:65]), Torch(make_network(), threads=1)
    assert large.sizes == [64]
    assert np.array_equal(given.outputs[64:], expected.predict(IMAGES[64:65]).outputs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_runtime_that_gives_no_number_answers_no_more_and_is_named(value: float) -> None:
    broken = Fake("broken", value)
    runtime = served({1: broken, 64: broken})
    expected = Torch(make_network(), threads=1).predict(IMAGES[:1])
    assert np.array_equal(runtime.predict(IMAGES[:1]).outputs, expected.outputs)
    assert runtime.name == "torch"
    assert str(runtime.problem).startswith("broken failed and answers no more: broken gave")
    runtime.predict(IMAGES[:65])
    assert broken.sizes == [1]


def test_the_key_tells_choices_and_machines_apart() -> None:
    one, two = served({1: Fake("a")}), served({1: Fake("a"), 2: Fake("b")})
    assert one.key != two.key
    assert one.key == served({1: Fake("a")}).key
    assert ServedRuntime(Torch(make_network(), threads=1)).key == ""
