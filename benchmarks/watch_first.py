"""Traffic that differs from its first window on: `python benchmarks/watch_first.py [--lives 8]`.

scikit-learn's digits, a small network, references of 60 to 250 rows, and traffic of digits that are
turned, upside down, darker, or clean, without a clean window before. Printed is the window with the
first alarm in each life, of twelve; a dash where there is none.
"""

import argparse
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from core.image_statistics import Container, statistics_of
from models.watching.evidence import combine
from models.watching.groups import groups_of
from models.watching.martingale import martingale
from models.watching.signals import WatchPolicy, Window

TAUGHT, WINDOWS = 500, 12
POLICY = WatchPolicy()


def main() -> None:
    """Print a line for each size of reference and window and each kind of traffic."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lives", type=int, default=8)
    given = parser.parse_args()
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = digits.images[order] / 16, digits.target[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPClassifier((256,), alpha=1e-2, max_iter=120, random_state=0)
        network.fit(images[:TAUGHT].reshape(-1, 64), labels[:TAUGHT])
    rest, truths = images[TAUGHT:], labels[TAUGHT:]
    clean = described(network, rest, truths)
    traffic = {
        "turned": described(network, np.rot90(rest, 1, (1, 2))),
        "upside down": described(network, rest[:, ::-1]),
        "darker": described(network, rest * 0.6),
        "clean": clean,
    }
    for rows in (60, 114, 250):
        for size in (50, 200):
            for name, pool in traffic.items():
                first = [alarm(clean, pool, rows, size, seed) for seed in range(given.lives)]
                words = " ".join("-" if one is None else str(one) for one in first)
                print(f"reference of {rows}, windows of {size}, {name}: {words}", flush=True)


def described(network: Any, images: np.ndarray, labels: np.ndarray | None = None) -> Window:
    """What the network and the service's statistics say of the images."""
    flat = images.reshape(-1, 64)
    hidden = np.maximum(flat @ network.coefs_[0] + network.intercepts_[0], 0)
    container = Container(32, 32, 900, "PNG")
    statistics = [statistics_of(picture(image), container) for image in images]
    outputs = network.predict_proba(flat).astype(np.float32)
    return Window.of(outputs, hidden.astype(np.float32), np.array(statistics), labels=labels)


def picture(image: np.ndarray) -> np.ndarray:
    """A digit as the service gets it."""
    grey = Image.fromarray((image * 255).astype(np.uint8))
    return np.asarray(grey.convert("RGB").resize((32, 32)))


def alarm(clean: Window, pool: Window, rows: int, size: int, seed: int) -> int | None:
    """The window with the first alarm."""
    rng, state = np.random.default_rng(seed), dict[str, Any]()
    order = rng.permutation(len(clean))
    reference = clean.take(order[:rows])
    for number in range(1, WINDOWS + 1):
        window = pool.take(rng.choice(order[rows:], size, replace=False))
        groups = groups_of(reference.embeddings, window.embeddings)
        window = replace(window, groups=groups, labels=None)
        signals, state = martingale(reference, window, state, policy=POLICY, rng=rng)
        if combine(signals, POLICY, number).alarm:
            return number
    return None


if __name__ == "__main__":
    main()
