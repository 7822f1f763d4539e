"""How fast is a pool scored, beside the bare forward pass, bare decoding and a stock DataLoader?

    python benchmarks/scoring.py FOLDER_OR_ZIP [--limit N] [--networks small@32,resnet18@64]
        [--threads 1,2] [--pairs 5] [--json runs.jsonl] [--picture scoring.png]

Point it at a folder of images of your own, however nested, or at a ZIP of one. `ours` is what a
round does, with nothing known: read, check, decode, squeeze, score, keep on the disk; `again` asks
for the same pool. `forward` is the same network on a batch in memory, in the number format and
batch size that is fastest for it; `decode` is the decoder alone on bytes in memory, by as many
threads as `ours` decodes with (one more than its forward passes have). `stock N` is torch's
DataLoader with N workers: Pillow, resize, ToTensor, batches of 64, fp32. They take turns, and each
ratio is the median of those within a turn; on a shared machine the processor time says more than
the rate. `--enlarge 320` first makes every picture so large, where decoding is what takes long.
"""

import argparse
import copy
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ingest import prepare as folder_of
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from core.images import clean_image, decode_image
from core.shards import read_images, write_shard
from labeling.ingest.files import files_under
from models.network.images import open_images
from models.network.network import Network, NetworkConfig, build
from models.network.precision import Precision, choose_precision, threads_set
from models.scoring.predict import BATCH, predict_table
from models.scoring.score_pool import cache_for, score_table

PER_SHARD = 2_000
LEAST, SHARE = 1_000, 12  # stock loops are so slow that this part of the images shows their rate
RATIOS = [
    ("ours", "forward"),
    ("ours", "decode"),
    ("ours", "stock 0"),
    ("ours", "stock 2"),
    ("again", "ours"),
]


@dataclass(frozen=True)
class Setting:
    """One network on one size of images, with so many threads."""

    name: str
    network: Network
    side: int
    threads: int
    batch: torch.Tensor
    precision: Precision


class Files(Dataset):
    """Files as a tutorial of torchvision reads them."""

    def __init__(self, paths: list[str], side: int) -> None:
        from torchvision import transforms

        self.paths = paths
        self.transform = transforms.Compose(
            [transforms.Resize((side, side)), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as picture:
            return self.transform(picture.convert("RGB"))


def main() -> None:
    """Take turns, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a folder of images, or a ZIP of one")
    parser.add_argument("--limit", type=int, help="take so many files, evenly spread")
    parser.add_argument("--enlarge", type=int, help="make each picture so many pixels wide first")
    parser.add_argument("--networks", default="small@32,resnet18@32,resnet18@64")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a line for each run is added to it")
    parser.add_argument("--picture", type=Path, default=Path("scoring.png"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as made:
        pool = Pool(folder_of(given.source, Path(made), given.limit), Path(made), given.enlarge)
        print(f"{len(pool.table):,} images, load {os.getloadavg()[0]:.1f}", flush=True)
        for name in given.networks.split(","):
            for threads in map(int, given.threads.split(",")):
                setting = setting_of(name, threads, pool)
                found = take_turns(setting, pool, given.pairs)
                runs += found
                print_table(setting, found)
                print(f"top-1 as in fp32, batch by batch: {agreement(setting, pool):.4f}")
                print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    if given.json:
        with given.json.open("a") as file:
            file.writelines(json.dumps(run) + "\n" for run in runs)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
    draw(runs, given.picture)


class Pool:
    """The images as loose files, as a workspace keeps them, and as bytes in memory."""

    def __init__(self, folder: Path, scratch: Path, enlarge: int | None) -> None:
        self.shards, self.scratch = scratch / "shards", scratch
        self.files, rows, waiting, labels = [], [], {}, {}
        for path in (found.path for found in files_under([folder])[0]):
            content = Path(path).read_bytes()
            if enlarge:
                content = enlarged(content, enlarge)
                Path(path).write_bytes(content)
            image = clean_image(content)
            if image.sample_id not in waiting:
                waiting[image.sample_id] = image.content
                labels[image.sample_id] = Path(path).parent.name
                self.files.append(str(path))
            if len(waiting) == PER_SHARD:
                rows += self._written(waiting)
                waiting = {}
        rows += self._written(waiting) if waiting else []
        self.table = pd.DataFrame(rows).drop_duplicates("sample_id").sort_values("sample_id")
        self.table["label"] = self.table["sample_id"].map(labels)
        places = open_images(self.table, self.shards, 1, memory_bound=0).locations
        self.contents = list(read_images(self.shards, places[: 4 * PER_SHARD]))

    def _written(self, images: dict[str, bytes]) -> list[dict[str, Any]]:
        places = write_shard(self.shards, list(images.items()))
        return [
            {
                "sample_id": sample_id,
                "shard": place.shard,
                "offset": place.offset,
                "length": place.length,
                "stored_sha256": place.sha256,
            }
            for sample_id, place in zip(images, places, strict=True)
        ]


def enlarged(content: bytes, width: int) -> bytes:
    """The picture, so many pixels wide, as a JPEG of quality 90."""
    with Image.open(BytesIO(content)) as picture:
        size = (width, round(picture.height * width / picture.width))
        large = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    large.save(buffer := BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


def setting_of(name: str, threads: int, pool: Pool) -> Setting:
    """The network, and a batch of the best size in the best format for it."""
    kind, _, side = name.partition("@")
    torch.manual_seed(0)
    network = small_network() if kind == "small" else torchvisions(kind, int(side))
    give_opinions(network, int(side), pool)
    images = open_images(pool.table, pool.shards, int(side), memory_bound=0)
    batch = images.decode(np.arange(min(BATCH, len(images))))
    chosen = choose_precision("auto", network, batch, start=started, steps=10**6)
    chosen.place(network).eval()
    sizes = {}
    for size in (BATCH, BATCH // 2, BATCH // 4):
        part = chosen.put(batch[:size])
        tries = [timed(partial(answer, network, part, chosen))[1] for _ in range(4)]
        sizes[size] = min(tries) / size
    batch = chosen.put(batch[: min(sizes, key=sizes.__getitem__)])
    return Setting(name, network, int(side), threads, batch, chosen)


def give_opinions(network: Network, side: int, pool: Pool) -> None:
    """Fit the head to the folders' names: a network that says one class of all agrees too well."""
    part = pool.table.iloc[:PER_SHARD]
    seen = predict_table(network, part, pool.shards, side).embeddings
    seen = np.hstack([seen, np.ones((len(seen), 1))])
    names = sorted(set(part["label"]))
    wanted = 10.0 * (part["label"].to_numpy()[:, None] == np.array(names)[None])
    scale = np.trace(seen.T @ seen) / seen.shape[1]
    fitted = np.linalg.solve(seen.T @ seen + 1e-4 * scale * np.eye(seen.shape[1]), seen.T @ wanted)
    network.head = nn.Linear(seen.shape[1] - 1, len(names))
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(fitted[:-1].T))
        network.head.bias.copy_(torch.from_numpy(fitted[-1]))


def small_network() -> Network:
    """Three convolutions, 10 million multiplications at 32 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        conv = nn.Conv2d(before, after, 3, padding=1)
        layers += [conv, nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    return Network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 128, 10)


def torchvisions(kind: str, side: int) -> Network:
    """A network of torchvision's as it is, without the stem for small images."""
    return build(NetworkConfig(kind, small_stem=False), classes=10, image_size=side)


def started(network: Network, precision: Precision) -> Callable[[torch.Tensor], object]:
    """The forward pass of a copy that is only tried."""
    network.eval()
    return lambda batch: answer(network, batch, precision)


def answer(network: Network, batch: torch.Tensor, precision: Precision) -> torch.Tensor:
    """The forward pass alone, and the softmax that belongs to it."""
    with torch.inference_mode(), precision.autocast():
        return network(batch).float().softmax(1)


def take_turns(setting: Setting, pool: Pool, pairs: int) -> list[dict[str, Any]]:
    """Every path once in each turn: so many images, in so many seconds."""
    cache = pool.scratch / "scores"
    paths: dict[str, Callable[[], int]] = {
        "forward": lambda: forward(setting, len(pool.table)),
        "decode": lambda: decode(pool.contents, setting.threads + 1),
        "ours": lambda: score(setting, pool, cache),
        "again": lambda: score(setting, pool, cache),
        "stock 0": lambda: stock(setting, pool, workers=0),
        "stock 2": lambda: stock(setting, pool, workers=2),
    }
    runs = []
    for turn in range(pairs):
        shutil.rmtree(cache, ignore_errors=True)
        for name, path in paths.items():
            seconds, processor, images = timed(path)
            runs.append(
                {
                    "network": setting.name,
                    "threads": setting.threads,
                    "path": name,
                    "turn": turn,
                    "images": images,
                    "seconds": round(seconds, 4),
                    "processor": round(processor, 4),
                    "precision": str(setting.precision),
                    "load": os.getloadavg()[0],
                }
            )
    return runs


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the clock and of all processors, and what came of the work."""
    began, before = time.perf_counter(), processor_seconds()
    found = work()
    return time.perf_counter() - began, processor_seconds() - before, found


def processor_seconds() -> float:
    """Processor time of this process and of the workers it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def forward(setting: Setting, images: int) -> int:
    """The batch in memory again and again, in as many threads side by side."""
    times = max(setting.threads, images // len(setting.batch))
    with ThreadPoolExecutor(setting.threads) as pool:
        work = [
            pool.submit(answer, setting.network, setting.batch, setting.precision)
            for _ in range(times)
        ]
        for one in work:
            one.result()
    return times * len(setting.batch)


def decode(contents: list[bytes], threads: int) -> int:
    """Every image decoded, and nothing kept."""

    def some(part: list[bytes]) -> None:
        for content in part:
            decode_image(content)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, [contents[start::64] for start in range(64)]))
    return len(contents)


def score(setting: Setting, pool: Pool, folder: Path) -> int:
    """What a round does, from the table to the mapped rows."""
    with cache_for(setting.network, folder) as cache:
        scored = score_table(
            setting.network, pool.table, pool.shards, setting.side, cache, threads=setting.threads
        )
    return len(scored.outputs)


def stock(setting: Setting, pool: Pool, *, workers: int) -> int:
    """The loop of the tutorials, over a part of the files."""
    count = min(len(pool.files), max(LEAST, len(pool.files) // SHARE))
    loader = DataLoader(Files(pool.files[:count], setting.side), 64, num_workers=workers)
    network = plain_copy(setting)
    with threads_set(setting.threads), torch.inference_mode():
        for images in loader:
            network(images * 255).softmax(1)
    return count


def plain_copy(setting: Setting) -> Network:
    """The network as it is built, fp32 and without a layout."""
    plain = copy.deepcopy(setting.network).eval()
    Precision().place(plain)
    return plain


def agreement(setting: Setting, pool: Pool) -> float:
    """How often the best class is the one of the fp32 path."""
    part = pool.table.iloc[: 4 * PER_SHARD]
    with (
        tempfile.TemporaryDirectory(dir=pool.scratch) as folder,
        cache_for(setting.network, Path(folder)) as cache,
    ):
        wanted = "bf16" if setting.precision.bf16 else "fp32"
        quick = score_table(
            setting.network, part, pool.shards, setting.side, cache, precision=wanted
        ).outputs.argmax(1)
    exact = predict_table(plain_copy(setting), part, pool.shards, setting.side).outputs.argmax(1)
    return float((quick == exact).mean())


def print_table(setting: Setting, runs: list[dict[str, Any]]) -> None:
    """The medians of each path, and the ratios within a turn."""
    print(f"\n{setting.name}, {setting.threads} threads, {setting.precision}, "
          f"batch {len(setting.batch)}")  # fmt: skip
    print("| | images/s | processor us per image |\n|---|---|---|")
    for path in dict.fromkeys(run["path"] for run in runs):
        turns = [run for run in runs if run["path"] == path]
        rate = statistics.median(run["images"] / run["seconds"] for run in turns)
        processor = statistics.median(1e6 * run["processor"] / run["images"] for run in turns)
        print(f"| {path} | {rate:,.0f} | {processor:,.1f} |")
    for ours, theirs in RATIOS:
        print(f"{ours} / {theirs}: {ratio(runs, ours, theirs):.2f}")


def ratio(runs: list[dict[str, Any]], ours: str, theirs: str) -> float:
    """The median over the turns of how many times as fast one is as the other."""
    rates = {(run["path"], run["turn"]): run["images"] / run["seconds"] for run in runs}
    turns = {run["turn"] for run in runs}
    return statistics.median(rates[ours, turn] / rates[theirs, turn] for turn in turns)


def draw(runs: list[dict[str, Any]], picture: Path) -> None:
    """Images per second of every run."""
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys((run["network"], run["threads"]) for run in runs))
    figure = Figure(figsize=(7, 1.6 * len(settings)), layout="constrained")
    for axes, (network, threads) in zip(
        figure.subplots(len(settings), sharex=True, squeeze=False)[:, 0], settings, strict=True
    ):
        for run in reversed(runs):
            if (run["network"], run["threads"]) == (network, threads):
                ours = run["path"] in ("ours", "again")
                axes.scatter(
                    run["images"] / run["seconds"], run["path"], color="C1" if ours else "C0", s=12
                )
        axes.set_title(f"{network}, {threads} threads", fontsize=9)
        axes.set_xscale("log")
        axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("images per second")
    figure.savefig(picture, dpi=150)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
