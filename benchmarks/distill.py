"""Does a student of the champion beat the same small network trained on the labels alone?

    python benchmarks/distill.py [FOLDER_OR_ZIP] [--labels 150] [--pool 1000] [--test 500]
        [--size 16] [--seeds 5] [--first 0] [--teacher resnet18] [--student mobilenet_v3_small]

Images in folders by class (`<class>/<file>`, in a folder or a ZIP); without one, scikit-learn's
digits. For each seed other images are labelled: the teacher and the small network are trained on
them, as `hone retrain` does, and the student on them and on the teacher's outputs for the pool, as
`hone distill` does. All are scored on the same test images, which nobody learnt from. The interval
is Student's over the differences of the seeds.
"""

import argparse
import hashlib
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.images import ImageRefused, clean_image
from core.shards import write_shard
from models.kinds import DEFAULT, KINDS
from models.network.network import NetworkConfig
from models.scoring.predict import predict_table
from models.training.config import TrainConfig
from models.training.train import Trained, train
from tasks.demo.digits import load_digits
from tasks.soft_rows import soft_rows

KIND = KINDS[DEFAULT]
VAL_SHARE = 0.25  # of the labels; the others are trained on
FIELDS = ("shard", "offset", "length", "stored_sha256")


@dataclass(frozen=True)
class Setting:
    """What one seed is tried with."""

    labels: int
    pool: int
    test: int
    size: int
    epochs: int
    teacher: str
    student: str


def images_of(source: Path | None) -> Iterator[tuple[str, bytes]]:
    """Class and bytes of every image."""
    if source is None:
        yield from ((digit.truth, digit.png) for digit in load_digits(0)[0])
    elif source.is_dir():
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            yield path.parent.name, path.read_bytes()
    else:
        with zipfile.ZipFile(source) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith("/"):
                    yield Path(name).parent.name, archive.read(name)


def stored(source: Path | None, shards: Path, most: int) -> pd.DataFrame:
    """`most` of the images in one shard, with their classes, in an order of chance."""
    every = list(images_of(source))
    rows: dict[str, tuple[str, bytes]] = {}
    for number in np.random.default_rng(0).permutation(len(every)):
        label, received = every[number]
        try:
            content = clean_image(received).content
        except ImageRefused:
            continue
        rows.setdefault(hashlib.sha256(received).hexdigest(), (label, content))
        if len(rows) == most:
            break
    places = write_shard(shards, [(name, content) for name, (_, content) in rows.items()])
    table = pd.DataFrame({"sample_id": list(rows), "label": [label for label, _ in rows.values()]})
    columns = zip(*((one.shard, one.offset, one.length, one.sha256) for one in places), strict=True)
    return table.assign(trust=1.0, probs=None, **dict(zip(FIELDS, columns, strict=True)))


def compare(table: pd.DataFrame, shards: Path, setting: Setting, seed: int) -> dict[str, float]:
    """The accuracy of teacher, student and the small network alone, with other labels each seed."""
    order = np.random.default_rng(seed).permutation(len(table))
    test = table.iloc[order[: setting.test]]
    rest = table.iloc[order[setting.test :]]
    labelled, pool = rest.head(setting.labels), rest.iloc[setting.labels :].head(setting.pool)
    held = round(VAL_SHARE * setting.labels)
    labelled = labelled.assign(split=["val"] * held + ["train"] * (setting.labels - held))
    classes = tuple(sorted(set(labelled["label"])))
    test = test[test["label"].isin(classes)]

    def trained(rows: pd.DataFrame, backbone: str, **more: float) -> Trained:
        config = TrainConfig(seed=seed, epochs=setting.epochs, precision="fp32", **more)  # type: ignore[arg-type]
        network = NetworkConfig(backbone=backbone)
        return train(rows, shards, classes, setting.size, config, network=network)

    def accuracy(model: Trained) -> float:
        outputs = predict_table(model.network, test, shards, setting.size).outputs
        return float(KIND.credit(outputs, test["label"].tolist(), classes).mean())

    teacher = trained(labelled, setting.teacher)
    outputs = predict_table(teacher.network, pool, shards, setting.size).outputs
    soft = soft_rows(pool["sample_id"].tolist(), outputs, classes, KIND, source="teacher")
    places = pool[["sample_id", *FIELDS]]
    both = pd.concat([labelled, places.merge(soft, on="sample_id").assign(split="soft")])
    student = trained(both.reset_index(drop=True), setting.student, soft_weight=0.9)
    alone = trained(labelled, setting.student)
    return {
        "teacher": accuracy(teacher),
        "student": accuracy(student),
        "labels only": accuracy(alone),
    }


def interval(values: list[float]) -> tuple[float, float, float]:
    """The mean with Student's interval at 95 %."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return mean, mean - float(half), mean + float(half)


def main() -> None:
    """Print each seed, and the difference over all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", nargs="?", type=Path)
    for name, value in (
        ("labels", 150), ("pool", 1000), ("test", 500), ("size", 16), ("epochs", 20), ("seeds", 5),
        ("first", 0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--teacher", default="resnet18")
    parser.add_argument("--student", default="mobilenet_v3_small")
    given = vars(parser.parse_args())
    source, seeds, first = (given.pop(name) for name in ("source", "seeds", "first"))
    setting = Setting(**given)
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder)
        most = setting.labels + setting.pool + setting.test
        table = stored(source, shards, most)
        if len(table) < most:
            raise SystemExit(f"{len(table)} images; {most} are needed: give more, or ask for less")
        for seed in range(first, first + seeds):
            began = time.perf_counter()
            row = compare(table, shards, setting, seed)
            differences.append(row["student"] - row["labels only"])
            row["seconds"] = round(time.perf_counter() - began, 1)
            print(json.dumps({"seed": seed, **row}), flush=True)
    if len(differences) > 1:
        mean, low, high = interval(differences)
        print(f"student - labels only: {mean:+.3f} [{low:+.3f}, {high:+.3f}] over {seeds} seeds")


if __name__ == "__main__":
    main()
