"""How often does the watch alarm on clean windows, and how often does it see a shift?

A small network is trained on 500 of scikit-learn's digits. Of the other 1,297 each check draws
anew 400 as the reference and 200 as the window; the window is then turned, made noisy, or left as
it is. The MMD test of Alibi Detect on the same embeddings stands beside (200 permutations, alarm
at p <= 0.005: the smallest level they allow).

    python benchmarks/drift.py [--checks 200] [--picture drift.png]
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.ndimage import rotate  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from torch import nn  # noqa: E402

from models.scoring.predict import Predictions  # noqa: E402
from models.watching.detectors import decide, signals  # noqa: E402
from models.watching.signals import WatchPolicy  # noqa: E402

SHIFTS = [(0, 0.0), (0, 0.1), (0, 0.2), (5, 0.0), (15, 0.1), (30, 0.2)]  # degrees, noise
TRAINED, REFERENCE, SHIFTED_CHECKS = 500, 400, 20
PERMUTATIONS = 200
Model = Callable[[np.ndarray], Predictions]


def main() -> None:
    """Print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checks", type=int, default=200, help="clean windows")
    parser.add_argument("--picture", type=Path, default=Path("drift.png"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, truths = (digits.images / 16)[order].astype(np.float32), digits.target[order]
    model = train(images[:TRAINED], truths[:TRAINED])
    rows = []
    for degrees, noise in SHIFTS:
        checks = SHIFTED_CHECKS if degrees or noise else given.checks
        rows.append(measure(model, images[TRAINED:], truths[TRAINED:], degrees, noise, checks))
        print_row(rows[-1], header=len(rows) == 1)
    low = (np.array(rows[0]["p_values"]) <= np.array([[0.05], [0.01], [0.001]])).mean(axis=1)
    print("clean checks with p <= 0.05, 0.01, 0.001:", *[f"{100 * share:.1f} %" for share in low])
    draw(rows, given.picture)


def train(images: np.ndarray, truths: np.ndarray) -> Model:
    """A convolutional network with an embedding of 64."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
    )  # fmt: skip
    head = nn.Linear(64, 10)
    optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=2e-3)
    inputs, targets = torch.from_numpy(images)[:, None], torch.from_numpy(truths)
    for _ in range(40):
        for rows in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(body(inputs[rows])), targets[rows]).backward()
            optimizer.step()

    @torch.no_grad()
    def predict(images: np.ndarray) -> Predictions:
        embeddings = body(torch.from_numpy(images)[:, None])
        return Predictions(head(embeddings).softmax(1).numpy(), embeddings.numpy())

    return predict


def measure(
    model: Model, images: np.ndarray, truths: np.ndarray, degrees: int, noise: float, checks: int
) -> dict:
    """Alarm shares of each signal, of the decision and of MMD, over windows drawn anew."""
    moved = shift(images, degrees, noise)
    here, there = model(moved), model(images)
    policy = WatchPolicy()
    alarms, p_values, seconds = [], [], 0.0
    for seed in range(checks):
        order = np.random.default_rng(seed).permutation(len(images))
        reference = rows_of(there, order[:REFERENCE])
        window = rows_of(here, order[REFERENCE : REFERENCE + policy.window])
        started = time.perf_counter()
        found = signals(reference, window, policy)
        seconds += time.perf_counter() - started
        alarm = decide(found, policy).action == "label-served"
        alarms.append(
            [*[s.outcome == "drift" for s in found], alarm, mmd(reference, window) <= 0.005]
        )
        p_values.append(min(1.0, len(found) * min(s.p_value or 0.0 for s in found)))
    return {
        "shift": f"{degrees} deg, noise {noise}",
        "checks": checks,
        "accuracy": float((here.outputs.argmax(axis=1) == truths).mean()),
        "shares": np.mean(alarms, axis=0),
        "p_values": p_values,
        "ms": 1e3 * seconds / checks,
    }


def shift(images: np.ndarray, degrees: int, noise: float) -> np.ndarray:
    """The images turned and with Gaussian noise, in units of white."""
    turned = rotate(images, degrees, axes=(1, 2), reshape=False, order=1) if degrees else images
    noisy = turned + np.random.default_rng(1).normal(0, noise, images.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


def rows_of(seen: Predictions, rows: np.ndarray) -> Predictions:
    """Some of the predictions."""
    return Predictions(seen.outputs[rows], seen.embeddings[rows])


def mmd(reference: Predictions, window: Predictions) -> float:
    """The p-value of Alibi Detect's MMD on the embeddings, counting the sample as a permutation."""
    from alibi_detect.cd import MMDDrift

    torch.manual_seed(0)
    detector = MMDDrift(
        reference.embeddings, backend="pytorch", n_permutations=PERMUTATIONS, device="cpu"
    )
    p_value = detector.predict(window.embeddings)["data"]["p_val"]
    return (round(p_value * PERMUTATIONS) + 1) / (PERMUTATIONS + 1)


def print_row(row: dict, *, header: bool) -> None:
    """One line of the table."""
    if header:
        titles = ("probabilities", "embeddings", "decision", "MMD")
        print(
            "alarms, % of checks"
            + "  checks  accuracy"
            + "".join(f"{t:>15}" for t in titles)
            + "  ms"
        )
    shares = "".join(f"{100 * share:15.1f}" for share in row["shares"])
    print(f"{row['shift']:<19}{row['checks']:8}{row['accuracy']:10.3f}{shares}{row['ms']:4.0f}")


def draw(rows: list[dict], path: Path) -> None:
    """The alarm shares as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for i, name in enumerate(["KS probabilities", "KS embeddings", "decision", "MMD embeddings"]):
        places = np.arange(len(rows)) + 0.2 * (i - 1.5)
        axes.bar(places, [100 * row["shares"][i] for row in rows], width=0.2, label=name)
    axes.set_xticks(range(len(rows)), [row["shift"] for row in rows], fontsize=8)
    axes.set_ylabel("alarms, % of checks")
    axes.legend()
    figure.savefig(path)
    print(f"drawn in {path}")


if __name__ == "__main__":
    main()
