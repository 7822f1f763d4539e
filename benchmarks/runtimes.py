"""Which runtime is the fastest for a network, and does it give the answers of torch?

    python benchmarks/runtimes.py FOLDER_OR_ZIP [--networks mobilenet_v3_small@64,resnet18@64]
        [--batches 1,16,64] [--rounds 7] [--images 1000] [--steps 80] [--probe] [--decode]

Point it at a folder of images of your own (`<class>/<file>`) or a ZIP of one. The table has, for
each network, runtime and size of batch, the median processor milliseconds of an image and the
ratio to eager torch, measured in turns, and for each runtime how far its answers are from those of
eager torch on `--images` images. Networks are trained on the first half of the images, for so many
`--steps` that answers differ from image to image.

`--probe` prints the choice that a release would make, and serves the images through the service's
own path (`Inference`) to compare the answers with `predict`. `--decode` compares decoding at full
and at a reduced scale, for JPEGs enlarged to 640 pixels: time, pixels and the model's labels.
"""

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.images import decode_image
from models.kinds import DEFAULT, KINDS
from models.network.images import prepare
from models.network.network import NetworkConfig, build
from models.registry.model_card import ModelCard
from models.registry.model_store import LoadedModel
from models.runtimes.agreement import compare
from models.runtimes.candidates import CANDIDATES, Source
from models.runtimes.choice import EAGER, Choice
from models.runtimes.loading import eager, load_chosen, source_of
from models.runtimes.machine import machine
from models.runtimes.policy import Policy
from models.runtimes.probe import probe
from models.runtimes.runtime import Runtime
from models.scoring.predict import Predictions, predict
from models.serving.batcher import Inference
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter

KIND = KINDS[DEFAULT]
LARGE = 640  # pixels that pictures are enlarged to, for decoding
TRAINED = 64  # pixels of the images that networks are trained on


def read(path: Path, most: int) -> tuple[list[bytes], list[str]]:
    """Images and the names of their classes, evenly from all files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        chosen = files[:: max(1, len(files) // most)][:most]
        return [file.read_bytes() for file in chosen], [file.parent.name for file in chosen]
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        names = names[:: max(1, len(names) // most)][:most]
        return [archive.read(name) for name in names], [name.split("/")[-2] for name in names]


def model_of(
    backbone: str, size: int, contents: list[bytes], labels: list[str], steps: int
) -> LoadedModel:
    """A network that was trained for some steps on the first half of the images, if small ones."""
    torch.manual_seed(0)
    classes = tuple(sorted(set(labels)))
    network = build(NetworkConfig(backbone), classes=len(classes), image_size=size)
    half = len(contents) // 2
    pixels = pixels_of(contents[:half], min(size, TRAINED))
    numbers = torch.tensor([classes.index(label) for label in labels[:half]])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(0, half, (64,))
        loss = torch.nn.functional.cross_entropy(network(pixels[rows]), numbers[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    print(f"{backbone}: loss {loss.item():.2f} after {steps} steps")
    card = ModelCard(
        classes=classes, image_size=size, network={"backbone": backbone}, snapshot="-",
        code_commit="-", seed=0, train={}, strategy="-", metrics={}, created_at="-",
    )  # fmt: skip
    empty = predict(network, torch.empty(0))
    return LoadedModel(f"hone:0001-{backbone.replace('_', '-')}", "-", network, card, empty)


def pixels_of(contents: list[bytes], size: int) -> torch.Tensor:
    """The images as the service prepares them."""
    return torch.stack([prepare(decode_image(content), size) for content in contents])


def loaded(source: Source) -> Iterator[tuple[str, Runtime | str]]:
    """Each runtime, or why it is not there."""
    for name, candidate in CANDIDATES.items():
        try:
            yield name, candidate.missing() or candidate.load(source)
        except Exception as error:
            yield name, str(error)[:100]


def measure(
    runtimes: dict[str, Runtime], pixels: torch.Tensor, size: int, rounds: int
) -> dict[str, float]:
    """The median processor milliseconds of an image of each runtime, in turns."""
    batch = pixels[torch.arange(size) % len(pixels)].contiguous()
    taken: dict[str, list[float]] = {name: [] for name in runtimes}
    for turn in range(rounds + 1):
        for name, runtime in runtimes.items():
            began = time.process_time()
            runtime.predict(batch)
            if turn:
                taken[name].append(1000 * (time.process_time() - began) / size)
    return {name: statistics.median(times) for name, times in taken.items()}


def table(model: LoadedModel, pixels: torch.Tensor, arguments: argparse.Namespace) -> None:
    """Print the rows of one network."""
    with tempfile.TemporaryDirectory() as home:
        began = time.process_time()
        source = source_of(model, Path(home), threads=1)
        there = dict(loaded(source))
        runtimes = {name: one for name, one in there.items() if not isinstance(one, str)}
        sizes = [int(size) for size in arguments.batches.split(",")]
        times = {size: measure(runtimes, pixels, size, arguments.rounds) for size in sizes}
        took = time.process_time() - began
        expected = runtimes[EAGER].predict(pixels)
        print(f"\n{model.version} at {model.card.image_size} px ({took:.0f} s of processor time)")
        columns = "".join(f" | batch {size}: ms, ratio" for size in sizes)
        print(f"| runtime{columns} | same label | probability | embedding | agrees |")
        for name, one in there.items():
            if isinstance(one, str):
                print(f"| {name} | {one} |")
                continue
            cells = "".join(
                f" | {times[size][name]:.2f}, {times[size][EAGER] / times[size][name]:.1f}"
                for size in sizes
            )
            parts = [one.predict(part) for part in pixels.split(64)]
            rows = compare(expected, Predictions.joined(parts), KIND, model.card.classes)
            print(
                f"| {name}{cells} | {rows.same_label:.4f} | {rows.probability:.1e} | "
                f"{rows.embedding:.1e} | {rows.problem() or 'yes'} |"
            )


def serve(model: LoadedModel, contents: list[bytes], pixels: torch.Tensor) -> None:
    """Print the choice of a probe, and how the service's answers compare with `predict`."""
    with tempfile.TemporaryDirectory() as home:
        source = source_of(model, Path(home), threads=1)
        probed = probe(source, pixels, KIND, model.card.classes)
        choice = Choice(
            model.version, "-", Policy.AUTO, machine(1), "-", probed.seconds, "images",
            probed.sizes, probed.agreement, probed.dropped,
        )  # fmt: skip
        print(f"{choice.sentence()}; {probed.seconds:.1f} s; dropped: {probed.dropped}")
        chosen, problems = load_chosen(choice, source, model.card.image_size)
        runtime = eager(model, threads=1)
        runtime.use(chosen, choice)
        active = ActiveModel(replace(model, runtime=runtime))
        writer = SegmentWriter(Path(home) / "traffic")
        inference = Inference(lambda: active, writer, needs_review_below=0.8, threads=1)
        asked = [
            inference.ask(str(at), contents[at : at + count])
            for at, count in _requests(len(contents))
        ]
        answers = [answer for one in asked for answer in one.result(timeout=600)]
        inference.close()
        expected = predict(model.network, pixels).outputs
        given = np.array([list(one["probabilities"].values()) for one in answers], np.float32)
        same = np.mean(given.argmax(1) == expected.argmax(1))
        print(
            f"served {len(answers)} images in requests of 1 to 33: same label {same:.4f}, largest "
            f"difference of a probability {np.abs(given - expected).max():.1e} {problems or ''}"
        )


def _requests(count: int) -> Iterator[tuple[int, int]]:
    at, sizes = 0, [1, 2, 33, 5]
    while at < count:
        size = min(sizes[0], count - at)
        sizes = [*sizes[1:], sizes[0]]
        yield at, size
        at += size


def decode(model: LoadedModel, contents: list[bytes]) -> None:
    """Print what a reduced scale of decoding costs and changes, for enlarged JPEGs."""
    size = model.card.image_size
    enlarged = [_enlarged(content) for content in contents[:200]]
    ways: dict[str, Any] = {
        "full scale": decode_image,
        "reduced scale": lambda c: _reduced(c, size),
    }
    made: dict[str, list[torch.Tensor]] = {name: [] for name in ways}
    taken = dict.fromkeys(ways, 0.0)
    for content in enlarged:
        for name, way in ways.items():
            began = time.thread_time()
            made[name].append(prepare(way(content), size))
            taken[name] += time.thread_time() - began
    full, reduced = (predict(model.network, torch.stack(one)) for one in made.values())
    rows = compare(full, reduced, KIND, model.card.classes)
    apart = [
        (one.float() - two.float()).abs().mean().item()
        for one, two in zip(*made.values(), strict=True)
    ]
    each = {name: f"{1000 * seconds / len(enlarged):.2f} ms" for name, seconds in taken.items()}
    print(
        f"decoding {LARGE} px for {size} px: {each}; pixels differ by {np.mean(apart):.2f} of 255; "
        f"same label {rows.same_label:.4f}, probability {rows.probability:.2f}: "
        f"{rows.problem() or 'agrees'}"
    )


def _enlarged(content: bytes) -> bytes:
    file = BytesIO()
    picture = Image.fromarray(decode_image(content)).resize(
        (LARGE, LARGE), Image.Resampling.BICUBIC
    )
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def _reduced(content: bytes, size: int) -> np.ndarray:
    """The picture at the smallest scale of libjpeg that is not below the size of the model."""
    import simplejpeg

    return np.asarray(
        simplejpeg.decode_jpeg(content, colorspace="RGB", min_height=size, min_width=size)
    )


def main() -> None:
    """Measure each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path)
    parser.add_argument("--networks", default="mobilenet_v3_small@64,resnet18@64")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--decode", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(1))
    contents, labels = read(arguments.source, arguments.images)
    for network in arguments.networks.split(","):
        backbone, _, size = network.partition("@")
        model = model_of(backbone, int(size), contents, labels, arguments.steps)
        pixels = pixels_of(contents, int(size))
        table(model, pixels, arguments)
        if arguments.probe:
            serve(model, contents, pixels)
        if arguments.decode:
            decode(model, contents)


if __name__ == "__main__":
    main()
