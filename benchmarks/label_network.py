"""The other setting of the label benchmark: at every step a small network is trained, all of it."""

import copy

import numpy as np
import torch
from label_features import as_pixels, cropped, embedded
from label_regimes import Head
from torch import nn
from torch.nn import functional

STEPS = 120
BATCH = 64
RATE = 5e-4
CROP = 24  # as when the network was taught: half the work
SAMPLE = 2_000  # images of the pool that say how far each feature spreads


class Net:
    """A network that starts each time from what was taught without labels, and is tuned whole.

    Its last layer starts as the best one on the features as they were taught: from random weights
    the first steps destroy them (0.64 instead of 0.67 of the images right at 2,000 labels).
    """

    def __init__(self, body: nn.Sequential, pool: np.ndarray, classes: int, seed: int) -> None:
        self.taught, self.body = body, body
        self.classes, self.seed = classes, seed
        self.head = Head(classes)
        seen = embedded(body, pool[:: 1 + len(pool) // SAMPLE])
        self.mean = seen.mean(axis=0)
        self.spread = (seen.std(axis=0) + 1e-6) * seen.shape[1] ** 0.5  # rows of length about one

    def fit(self, images: np.ndarray, labels: np.ndarray) -> "Net":
        """Tune on these, the same number of steps however many they are; itself comes back."""
        if not len(labels):
            return self
        torch.manual_seed(self.seed)
        body, last = copy.deepcopy(self.taught).train(), self._first_layer(images, labels)
        parts = [*body.parameters(), *last.parameters()]
        tuned = torch.optim.AdamW(parts, lr=RATE, weight_decay=1e-2)
        rates = torch.optim.lr_scheduler.OneCycleLR(tuned, RATE, STEPS, pct_start=0.1)
        rng = np.random.default_rng(self.seed)
        truth = torch.from_numpy(labels)
        for _ in range(STEPS):
            rows = rng.integers(len(labels), size=BATCH)
            pixels = cropped(as_pixels(images[rows]), CROP, rng)
            with torch.autocast("cpu", torch.bfloat16):
                said = last(body(pixels.contiguous(memory_format=torch.channels_last)))
            loss = functional.cross_entropy(said.float(), truth[rows])
            tuned.zero_grad()
            loss.backward()
            tuned.step()
            rates.step()
        self.body = body.eval()
        weights = [last.weight.detach().T.numpy(), last.bias.detach()[None].numpy()]
        self.head.weights = np.concatenate(weights).astype(np.float64)
        return self

    def _first_layer(self, images: np.ndarray, labels: np.ndarray) -> nn.Linear:
        """The head that is best on the features as they were taught."""
        seen = (embedded(self.taught, images) - self.mean) / self.spread
        weights = Head(self.classes).fit(seen, labels).weights
        last = nn.Linear(seen.shape[1], self.classes)
        slope = weights[:-1] / self.spread[:, None]
        with torch.no_grad():
            last.weight.copy_(torch.from_numpy(slope.T))
            last.bias.copy_(torch.from_numpy(weights[-1] - self.mean @ slope))
        return last

    def embed(self, images: np.ndarray) -> np.ndarray:
        """What its last layer sees, float32."""
        return embedded(self.body, images)
