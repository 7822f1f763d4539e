"""How many labels do choosing and the recipe save when the network itself is trained?

    python -m benchmarks.label_network CIFAR10.zip --out network.jsonl [--seeds 5]

EfficientNet-Lite0 with pretrained weights is trained by the product's own `train` on images of
`--size` pixels: labels drawn at random or chosen by `auto` (on the pretrained features of
`benchmarks/label_efficiency.py`, which are stored in `--cache`), training plain (all of the
network, a new head, one learning rate), by the recipe, or by the recipe and with inferred labels of
the pool as `[train] pool = "auto"` adds them. One line of JSON for each training goes to
`--out`; those that are there are not made again, so that the same command runs the rest. At the
end: how many labels random choice and plain training need for what each other pair reaches.

Set OMP_NUM_THREADS=1 and run several with other `--only-seeds` beside each other. `--development`
has seeds from 100 on and is judged by images that are in no pool and no test. `--report --labels`
compares these numbers of labels alone: a seed counts in a ratio once it has all of them.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.labels.features import aside_of, data_set
from benchmarks.labels.head import Head
from benchmarks.labels.questions import Question, at_random, ours
from benchmarks.labels.sets import ImageSet, image_set
from core.shards import write_shard
from labeling.quality.student import reduced, student
from models.kinds import DEFAULT, KINDS
from models.network.network import NetworkConfig
from models.scoring.predict import predict_table
from models.training.config import TrainConfig
from models.training.recipe import Recipe
from models.training.rows import SOFT
from models.training.train import train
from tasks.collect.pool_rows import SOFT_ROWS
from tasks.soft_rows import soft_rows

MARKS = (200, 500, 1_000, 2_500)  # labels at which accuracy is read
BEYOND = (5_000,)  # more for random choice and plain training, which need them
BATCHES = (50, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 2_500)  # labels after each
POOL = 10_000
VAL_SHARE = 0.15  # as in a snapshot
CHOICES, TRAININGS = ("random", "auto"), ("plain", "recipe", "pool")
PAIRS = [f"{choice}+{training}" for choice in CHOICES for training in TRAININGS]
PLAIN = ("random", "plain")
LEVELS, RESAMPLES = (0.05, 0.95), 1_000


@dataclass(frozen=True)
class Game:
    """What one seed draws: a pool with its features, and the images that judge."""

    features: np.ndarray
    classes: np.ndarray
    images: np.ndarray  # numbers in the set of the pool's images
    judged: np.ndarray


def main() -> None:
    """Run the trainings that are missing, then print the label ratios."""
    given = _arguments()
    if not given.report:
        torch.set_num_threads(1)
        images = image_set(given.source)
        first = 100 if given.development else 0
        seeds = given.only_seeds or [first + seed for seed in range(given.seeds)]
        for seed in seeds:
            _play(images, seed, given)
    print(table([line for line in _lines(given.out) if line["labels"] in given.labels]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a set of images, as for label_efficiency")
    parser.add_argument("--out", type=Path, default=Path("label_network.jsonl"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-seeds", type=int, nargs="*")
    parser.add_argument("--pairs", nargs="*", default=PAIRS, choices=PAIRS)
    parser.add_argument("--labels", type=int, nargs="*", default=[*MARKS, *BEYOND])
    parser.add_argument("--judged", type=int, default=2_000, help="test images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--min-steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--fine-tune", default="auto", help="of the recipe")
    parser.add_argument("--precision", default="auto", help="fp32: the same bits every time")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def _play(images: ImageSet, seed: int, given: argparse.Namespace) -> None:
    """Every training of a seed that is not in the output yet."""
    done = {_key(line) for line in _lines(given.out)}
    wanted = [
        (choice, training, labels)
        for labels in sorted(given.labels)
        for choice, training in (pair.split("+") for pair in given.pairs)
        if labels not in BEYOND or (choice, training) == PLAIN
    ]
    missing = [one for one in wanted if (seed, *one, given.fine_tune) not in done]
    if not missing:
        return
    game = _game(images, seed, given)
    most = {choice: max(one[2] for one in missing if one[0] == choice) for choice, *_ in missing}
    orders = {choice: order(game, choice, seed, labels) for choice, labels in most.items()}
    with tempfile.TemporaryDirectory() as folder:
        needed = np.unique(np.concatenate([*orders.values(), _drawn(game, seed)]))
        rows = _stored(images, game, needed, Path(folder))
        for choice, training, labels in missing:
            line = {"seed": seed, "choice": choice, "training": training, "labels": labels}
            line |= {"fine_tune": given.fine_tune}
            labelled = orders[choice][:labels]
            line |= _trained(rows, labelled, training, game, seed, given, Path(folder))
            with given.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{seed} {choice} + {training}, {labels} labels: {line['accuracy']:.3f} "
                  f"in {line['seconds']:.0f} s", flush=True)  # fmt: skip


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("seed", "choice", "training", "labels", "fine_tune"))


def _game(images: ImageSet, seed: int, given: argparse.Namespace) -> Game:
    """The pool and the judged images of a seed."""
    data = data_set(images, "pretrained", given.cache, epochs=0, development=given.development)
    aside = aside_of(images.is_test)
    pool = np.setdiff1d(np.intersect1d(np.flatnonzero(~images.is_test), images.rows), aside)
    rng = np.random.default_rng([seed, 7])
    rows = np.sort(rng.permutation(len(pool))[:POOL])
    judged = aside if given.development else np.flatnonzero(images.is_test)
    judged = np.intersect1d(judged, images.rows)
    judged = judged[:: max(1, len(judged) // given.judged)][: given.judged]
    return Game(data.features[rows], data.classes[rows], pool[rows], judged)


def order(game: Game, choice: str, seed: int, most: int) -> np.ndarray:
    """Rows of the pool in the order in which they are labelled."""
    rng = np.random.default_rng([seed, 3])
    labelled = np.empty(0, np.int64)
    head = Head(int(game.classes.max()) + 1)
    for total in [*(step for step in BATCHES if step < most), most]:
        free = np.setdiff1d(np.arange(len(game.classes)), labelled)
        head.fit(game.features[labelled], game.classes[labelled])
        question = Question(
            head, free, game.features, game.features[labelled], game.classes[labelled],
            total - len(labelled), int(rng.integers(2**31)),
        )  # fmt: skip
        answer = at_random if choice == "random" else ours(choice)
        labelled = np.concatenate([labelled, free[answer(question)]])
    return labelled


def _drawn(game: Game, seed: int) -> np.ndarray:
    """The part of the pool whose inferred labels are trained on; what is labelled is left out."""
    return np.random.default_rng([seed, 9]).permutation(len(game.classes))[:SOFT_ROWS]


def _stored(images: ImageSet, game: Game, needed: np.ndarray, shards: Path) -> pd.DataFrame:
    """The images of the pool that are needed, and the judged ones, in a shard; a row for each."""
    numbers = np.concatenate([game.images[needed], game.judged])
    encoded = [(f"{at:06d}", _png(image)) for at, image in enumerate(images.read(list(numbers)))]
    places = write_shard(shards, encoded)
    return pd.DataFrame(
        {
            "sample_id": [name for name, _ in encoded],
            "row": [*needed, *[-1] * len(game.judged)],
            "label": [f"class {number}" for number in images.classes[numbers]],
            "trust": 1.0,
            "shard": [place.shard for place in places],
            "offset": [place.offset for place in places],
            "length": [place.length for place in places],
            "stored_sha256": [place.sha256 for place in places],
        }
    )


def _png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _inferred(
    rows: pd.DataFrame, learn: pd.DataFrame, labelled: np.ndarray, game: Game, seed: int
) -> pd.DataFrame:
    """Soft rows of the drawn part of the pool, as a snapshot has them; none where it is no help."""
    classes, learnt = sorted(set(rows["label"])), learn["row"].to_numpy()
    # Validation rows take no part.
    members = np.setdiff1d(np.arange(len(game.classes)), np.setdiff1d(labelled, learnt))
    made = student(
        reduced(game.features[members]),
        np.searchsorted(members, learnt),
        pd.Index(classes).get_indexer(pd.Index(learn["label"])),
        len(classes),
    )
    if not made.helps:
        return rows.iloc[:0]
    drawn = np.setdiff1d(_drawn(game, seed), labelled)
    images, at = rows.set_index("row").loc[drawn], np.searchsorted(members, drawn)
    soft = soft_rows(
        images["sample_id"].tolist(), made.probs[at], classes, KINDS[DEFAULT],
        source="pool", trust=made.trust[at],
    )  # fmt: skip
    places = images[["sample_id", "shard", "offset", "length", "stored_sha256"]]
    return soft.merge(places, on="sample_id").assign(split=SOFT)


def _trained(
    rows: pd.DataFrame, labelled: np.ndarray, training: str, game: Game, seed: int,
    given: argparse.Namespace, shards: Path,
) -> dict[str, Any]:  # fmt: skip
    """The accuracy after a training on these labels, and what it took."""
    judged = rows[rows["row"] < 0].reset_index(drop=True)
    table = rows.set_index("row").loc[labelled].reset_index()
    held = np.random.default_rng([seed, 5]).permutation(len(table)) < VAL_SHARE * len(table)
    table["split"] = np.where(held, "val", "train")
    if training == "pool":
        learn = table[table["split"] == "train"]
        table = pd.concat([table, _inferred(rows, learn, labelled, game, seed)], ignore_index=True)
    classes = sorted(set(rows["label"]))
    config = TrainConfig(
        epochs=given.epochs, min_steps=given.min_steps, batch_size=given.batch, flip=True,
        precision=given.precision, seed=seed, fine_tune=given.fine_tune,
    )  # fmt: skip
    began = time.process_time()
    trained = train(
        table, shards, classes, given.size, config,
        network=NetworkConfig(given.backbone, weights=given.weights),
        recipe=Recipe() if training == "plain" else None,
    )  # fmt: skip
    seconds = time.process_time() - began
    outputs = predict_table(trained.network, judged, shards, given.size).outputs
    right = np.asarray(classes)[outputs.argmax(1)] == judged["label"].to_numpy()
    recipe = {name: trained.recipe.get(name) for name in ("fine_tune", "head_strength")}
    return {
        "accuracy": round(float(right.mean()), 5), "seconds": round(seconds, 1),
        "best_epoch": trained.best_epoch, "precision": trained.precision,
        "pool": int((table["split"] == SOFT).sum()), "recipe": recipe, "size": given.size,
    }  # fmt: skip


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    if out.exists():
        yield from (json.loads(line) for line in out.read_text().splitlines())


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The accuracy of each pair at each number of labels, with its label ratio."""
    curves: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for line in lines:
        of_pair = curves.setdefault((line["choice"], line["training"]), {})
        of_pair.setdefault(line["labels"], {})[line["seed"]] = line["accuracy"]
    written = ["| choice + training | labels | accuracy | label ratio | seeds |", "|" + "---|" * 5]
    for pair, by_labels in curves.items():
        for labels, by_seed in sorted(by_labels.items()):
            ratio = "" if pair == PLAIN else label_ratio(curves.get(PLAIN, {}), by_seed, labels)
            mean = np.mean(list(by_seed.values()))
            cells = [" + ".join(pair), labels, f"{mean:.3f}", ratio, len(by_seed)]
            written.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(written)


def label_ratio(plain: dict[int, dict[int, float]], reached: dict[int, float], labels: int) -> str:
    """Labels that plain training needs for what was reached, over `labels`; interval over seeds."""
    seeds = sorted(seed for seed in reached if all(seed in each for each in plain.values()))
    if not seeds or len(plain) < 2:
        return ""
    steps = sorted(plain)
    curves = np.array([[plain[step][seed] for step in steps] for seed in seeds])
    values = np.array([reached[seed] for seed in seeds])
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(seeds), size=len(seeds)) for _ in range(RESAMPLES)]
    ratios = [needed(steps, curves[rows].mean(0), values[rows].mean()) / labels for rows in drawn]
    low, high = np.quantile(ratios, LEVELS, method="nearest")
    value = needed(steps, curves.mean(0), values.mean()) / labels
    if np.isinf(value):
        return f"> {steps[-1] / labels:.1f}"
    return f"{value:.2f} [{low:.2f}, {'' if np.isinf(high) else f'{high:.2f}'}]"


def needed(steps: Sequence[int], curve: np.ndarray, goal: float) -> float:
    """Labels after which a curve reaches the goal, even in their logarithm; infinite beyond it."""
    rising = np.maximum.accumulate(curve)
    if goal > rising[-1]:
        return float("inf")
    return float(np.exp(np.interp(goal, rising, np.log(steps))))


if __name__ == "__main__":
    main()
