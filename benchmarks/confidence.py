"""Is confidence right with a temperature, and does the gate stop what is worse and nothing else?

    python benchmarks/confidence.py temperature     # few validation rows: what the prior saves
    python benchmarks/confidence.py error           # intervals of the calibration error: coverage
    python benchmarks/confidence.py digits          # trained networks: temperature, false alarms

`digits` trains small networks on scikit-learn's digits, with other seeds, and compares them in
pairs on samples of rows that none was trained on: how often the criteria `calibration` and
`robustness` of `hone retrain`, at their default margins, hold a challenger that was trained as the
champion was, and how often one that was made too certain, or that breaks under one corruption. Two
processor minutes. Each line of the output is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.intervals import Interval
from core.shards import write_shard
from models.judging.calibration import calibration_difference, expected_calibration_error
from models.judging.corruptions import CORRUPTIONS, POOLED, corrupted, robustness
from models.judging.criteria.robustness import ONE_KIND
from models.judging.verdict import GatePolicy
from models.kinds import DEFAULT, KINDS
from models.network.images import open_images
from models.network.network import Network, NetworkConfig
from models.scoring.predict import predict
from models.training import temperature
from models.training.config import TrainConfig
from models.training.temperature import fit_temperature
from models.training.train import train
from tasks.demo.digits import load_digits

KIND = KINDS[DEFAULT]
SIDE, VALIDATION, HELD_OUT = 16, 60, 500
NETWORK = NetworkConfig("shufflenet_v2_x0_5")
CLASSES = [str(number) for number in range(10)]
SPREADS = (0.25, 0.5, 1.0, 100.0)  # of the prior; the last is none
RISE, LOSS = GatePolicy().calibration_margin, GatePolicy().robustness_margin


def main() -> None:
    """Run what was asked for and print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("what", choices=("temperature", "error", "digits"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "temperature": lambda: by_validation_rows(asked.draws),
        "error": lambda: coverage(asked.draws),
        "digits": lambda: on_digits(asked.seeds, asked.draws),
    }
    for row in parts[asked.what]():
        print(json.dumps(row), flush=True)


def by_validation_rows(draws: int) -> Iterator[dict[str, Any]]:
    """How much more loss a fitted temperature has than the best one, on other rows."""
    for factor in (0.5, 1.0, 2.0):
        raw, targets = _logits(20_000, factor, seed=10**6)

        def loss(value: float, raw: torch.Tensor = raw, targets: torch.Tensor = targets) -> float:
            return KIND.loss(KIND.scaled(raw, value), targets).mean().item()

        for rows in (5, 20, 50, 200):
            more = {}
            for spread in SPREADS:
                temperature.SPREAD = spread
                fitted = [fit_temperature(*_logits(rows, factor, seed), KIND)
                          for seed in range(draws)]  # fmt: skip
                more[f"spread {spread:g}"] = round(
                    np.mean(list(map(loss, fitted))) - loss(factor), 4
                )
            yield {"factor": factor, "rows": rows, "none": round(loss(1) - loss(factor), 4), **more}


def coverage(draws: int) -> Iterator[dict[str, Any]]:
    """How often the intervals of the calibration error hold the truth."""
    for one, other in ((1.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 1.0), (0.6, 2.0)):
        rng = np.random.default_rng(5)
        truths = [_true_error(*drawn) for drawn in _two_models(rng, 200_000, one, other)]
        for rows in (30, 100, 300, 1000):
            rng = np.random.default_rng(1)
            held, paired, rises = [], [], []
            for _ in range(draws):
                (first, classes, _), (second, _, _) = _two_models(rng, rows, one, other)
                error = expected_calibration_error(first, classes, CLASSES)
                rise = calibration_difference(second, first, classes, CLASSES)
                held.append(error.low <= truths[0] <= error.high)
                paired.append(rise.low <= truths[1] - truths[0] <= rise.high)
                rises.append(rise.low > max(0.0, truths[1] - truths[0]))
            yield {
                "factors": [one, other],
                "errors": [round(truth, 3) for truth in truths],
                "rows": rows,
                "holds": _share(held),
                "difference holds": _share(paired),
                "rise too high": _share(rises),
            }


def on_digits(seeds: int, draws: int) -> Iterator[dict[str, Any]]:
    """Networks trained on the digits with and without a temperature, and what the gate says."""
    with tempfile.TemporaryDirectory() as folder:
        table = _digits(Path(folder))
        held_out = table.iloc[-HELD_OUT:].reset_index(drop=True)
        pictures = open_images(held_out, Path(folder), SIDE).take(np.arange(HELD_OUT))
        truths = held_out["label"].to_numpy()
        before: list[dict[str, np.ndarray]] = []
        for labels in (100, 300):
            scored = []
            for seed in range(seeds):
                network = _trained(table, Path(folder), labels, seed)
                numbers = _with_and_without(network, pictures, held_out)
                yield {"labels": labels, "seed": seed, **numbers}
                scored.append(_outputs(network, pictures, held_out))
            for rows in (50, 100, 200):
                alarms = _alarms(scored, before, truths, rows, draws)
                yield {"labels": labels, "rows": rows, **alarms}
            before = scored


def _alarms(
    scored: list[dict[str, np.ndarray]],
    before: list[dict[str, np.ndarray]],
    truths: np.ndarray,
    rows: int,
    draws: int,
) -> dict[str, float]:
    """The shares of draws of rows in which each criterion holds a challenger.

    `before` are networks of fewer labels: champions against which those of `scored` are better.
    """
    rng = np.random.default_rng(0)
    pairs = [(scored[one], scored[other]) for one, other in permutations(range(len(scored)), 2)]
    improved = [(one, other) for one in before for other in scored]
    held: dict[str, list[bool]] = {
        f"{name}: loses the margin on a kind, on all rows": [
            min(lost.value for lost in _losses(other, one, truths).values()) < -LOSS
            for one, other in known
        ]
        for name, known in (("equal", pairs), ("better", improved))
        if known
    }
    for draw in range(draws):
        chosen = rng.permutation(len(truths))[:rows]
        champion, equal = (_rows(model, chosen) for model in pairs[draw % len(pairs)])
        certain = champion | {"clean": _certain(champion["clean"])}
        fragile = equal | {"noise": rng.dirichlet(np.ones(10), rows)}
        compared = {
            "equal": (champion, equal),
            "certain": (champion, certain),
            "fragile": (champion, fragile),
        }
        if improved:
            former, better = (_rows(model, chosen) for model in improved[draw % len(improved)])
            compared["better"] = former, better
        for name, (one, other) in compared.items():
            for criterion, holds in _held(other, one, truths[chosen]).items():
                held.setdefault(f"{name}: {criterion}", []).append(holds)
    return {name: _share(values) for name, values in held.items()}


def _rows(model: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: outputs[chosen] for name, outputs in model.items()}


def _held(
    challenger: dict[str, np.ndarray], champion: dict[str, np.ndarray], truths: np.ndarray
) -> dict[str, bool]:
    """Whether each criterion holds the challenger, at the default margins."""
    rise = calibration_difference(challenger["clean"], champion["clean"], truths, CLASSES)
    lost = _losses(challenger, champion, truths)
    fell = {name: one.high < 0 and one.value < -LOSS for name, one in lost.items()}
    return {
        "calibration": rise.low > 0 and rise.value > RISE,
        "robustness": fell[POOLED]
        or any(one.high < 0 and one.value < -ONE_KIND * LOSS for one in lost.values()),
        "robustness of all together": fell[POOLED],
        "robustness, the margin on every kind": any(fell.values()),
    }


def _losses(
    challenger: dict[str, np.ndarray], champion: dict[str, np.ndarray], truths: np.ndarray
) -> dict[str, Interval]:
    """The differences under each kind of corruption, and under all together."""
    credits = (
        {one: KIND.credit(model[one], truths, CLASSES) for one in CORRUPTIONS}
        for model in (challenger, champion)
    )
    return robustness(*credits)


def _outputs(network: Network, pictures: torch.Tensor, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The outputs for the rows as they are, and under each corruption."""
    outputs: dict[str, np.ndarray] = {"clean": predict(network, pictures).outputs}
    images = pictures.permute(0, 2, 3, 1).numpy()
    for one in CORRUPTIONS:
        made = corrupted(images, one, rows["sample_id"].tolist())
        outputs[one] = predict(network, torch.from_numpy(made).permute(0, 3, 1, 2)).outputs
    return outputs


def _with_and_without(
    network: Network, pictures: torch.Tensor, rows: pd.DataFrame
) -> dict[str, float]:
    """Loss and calibration error on rows that were not trained on, with and without it."""
    truths = rows["label"].to_numpy()
    numbers = truths.astype(int)
    fitted = float(network.temperature)
    measured: dict[str, float] = {"temperature": round(fitted, 3)}
    for name, value in (("without", 1.0), ("with", fitted)):
        network.temperature.fill_(value)
        outputs = predict(network, pictures).outputs
        loss = -np.log(np.maximum(outputs[np.arange(len(rows)), numbers], 1e-12)).mean()
        error = expected_calibration_error(outputs, truths, CLASSES)
        measured[f"loss {name}"] = round(float(loss), 3)
        measured[f"error {name}"] = round(error.value, 3)
    measured["accuracy"] = _share(KIND.credit(outputs, truths, CLASSES))
    return measured


def _trained(table: pd.DataFrame, folder: Path, labels: int, seed: int) -> Network:
    """A network of so many labels, which another seed draws."""
    rows = table.iloc[:-HELD_OUT].sample(labels + VALIDATION, random_state=seed)
    rows = rows.assign(split=["train"] * labels + ["val"] * VALIDATION)
    config = TrainConfig(epochs=12, min_steps=150, batch_size=32, lr=3e-3, precision="fp32",
                         seed=seed)  # fmt: skip
    began = time.process_time()
    trained = train(rows, folder, CLASSES, SIDE, config, network=NETWORK)
    print(json.dumps({"trained in processor seconds": round(time.process_time() - began, 1)}))
    return trained.network


def _digits(folder: Path) -> pd.DataFrame:
    digits = load_digits(0)[0]
    places = write_shard(folder, [(digit.sample_id, digit.png) for digit in digits])
    return pd.DataFrame({
        "sample_id": [digit.sample_id for digit in digits],
        "label": [digit.truth for digit in digits],
        "trust": 1.0,
        "split": "train",
        "shard": [place.shard for place in places],
        "offset": [place.offset for place in places],
        "length": [place.length for place in places],
        "stored_sha256": [place.sha256 for place in places],
    })  # fmt: skip


def _logits(rows: int, factor: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of ten classes, `factor` times the truth, and classes drawn from the truth."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, 10, generator=generator)
    return factor * logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def _two_models(
    rng: np.random.Generator, rows: int, one: float, other: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Outputs of two models for the same rows, the classes, and what the first is right on."""
    logits = 3 * rng.normal(size=(rows, 10))
    drawn = _softmax(logits).cumsum(1) > rng.random(rows)[:, None]
    classes = np.array(CLASSES)[drawn.argmax(1)]
    models = []
    for factor, noise in ((one, 0.0), (other, 0.3)):
        outputs = _softmax(factor * (logits + noise * rng.normal(size=logits.shape)))
        models.append((outputs, classes, KIND.credit(outputs, classes, CLASSES)))
    return models


def _true_error(outputs: np.ndarray, classes: np.ndarray, credit: np.ndarray) -> float:
    """The calibration error of so many rows that chance adds nothing."""
    confidence = outputs.max(axis=1)
    bins = np.array_split(np.argsort(confidence, kind="stable"), 100)
    return float(np.mean([abs((confidence[rows] - credit[rows]).mean()) for rows in bins]))


def _certain(outputs: np.ndarray) -> np.ndarray:
    return np.asarray(_softmax(4 * np.log(np.maximum(outputs, 1e-12))))


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _share(values: Any) -> float:
    return round(float(np.mean(values)), 3)


if __name__ == "__main__":
    main()
