"""The other setting of the label benchmark: at every step a small network is trained, all of it."""

import copy

import numpy as np
import torch
from label_features import as_pixels, embedded, shifted
from label_regimes import Head
from torch import nn
from torch.nn import functional

STEPS = 200
BATCH = 64
RATE = 1e-3


class Net:
    """A network that starts each time from what was taught without labels, and is tuned whole."""

    def __init__(self, body: nn.Sequential, classes: int, seed: int) -> None:
        self.taught, self.body = body, body
        self.classes, self.seed = classes, seed
        self.head = Head(classes)

    def fit(self, images: np.ndarray, labels: np.ndarray) -> "Net":
        """Tune on these, the same number of steps however many they are; itself comes back."""
        if not len(labels):
            return self
        torch.manual_seed(self.seed)
        body = copy.deepcopy(self.taught).train()
        width = embedded(self.taught, images[:1]).shape[1]
        last = nn.Linear(width, self.classes)
        parts = [*body.parameters(), *last.parameters()]
        tuned = torch.optim.AdamW(parts, lr=RATE, weight_decay=1e-2)
        rates = torch.optim.lr_scheduler.OneCycleLR(tuned, RATE, STEPS)
        rng = np.random.default_rng(self.seed)
        truth = torch.from_numpy(labels)
        for _ in range(STEPS):
            rows = rng.integers(len(labels), size=BATCH)
            pixels = shifted(as_pixels(images[rows]), rng)
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

    def embed(self, images: np.ndarray) -> np.ndarray:
        """What its last layer sees, float32."""
        return embedded(self.body, images)
