"""How fast does the service answer, beside the same model served in other ways?

    python benchmarks/serving.py [--backbone mobilenet_v3_small ...] [--size 64 ...]
        [--format PNG JPEG] [--images ZIP] [--rounds 3] [--seconds 4] [--litserve PYTHON]
    python benchmarks/serving.py tiny [--rounds 3] [--seconds 4]
    python benchmarks/serving.py memory [--requests 100000]

Each server has one worker and one thread, and they take turns: `ours` (bentoml serve of this
repository: every image checked, every answer on disk before it is given, the runtime that it chose
itself, no cache of answers), `bare` (uvicorn and a few lines of ASGI with that same runtime: no
form, no checks, no record), `synced` (`bare` that puts image and answer on the disk before it
answers), `default` (BentoML with its own image field, eager torch), `fastapi`
and, with the Python of an environment that has it, `litserve`. First 1,000 images must get the same
labels from all. The client is a process of its own. On a shared machine the processor time of a
request says more than the rate.

`tiny` shows what the service itself costs: a model of a tenth of a millisecond (mnasnet0_5 at 16
px), beside `raw`, uvicorn that reads a body, runs the same forward pass on a fixed image and
answers the same bytes: nothing is decoded, checked, or recorded.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[1]
CLIENTS = (1, 16)
IMAGES = 1000
BOUNDARY = "hone-benchmark"
FIELDS = {"ours": "images", "default": "image", "fastapi": "image", "litserve": "image"}
TINY = ("mnasnet0_5", 16, "PNG")
CHOICE_SECONDS = 120  # for the service to choose its runtime
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HONE_THREADS")


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    port: int
    process: psutil.Process

    def processor(self) -> float:
        """Seconds of processor that its processes have used."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in tree)

    def memory(self) -> int:
        """Bytes that its processes hold for themselves."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_full_info().uss for one in tree)


@dataclass(frozen=True)
class Measured:
    """One turn of one server."""

    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float
    processor: float  # milliseconds a request


def main() -> None:
    """Print a table for each model."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("what", nargs="?", choices=("rates", "tiny", "memory"), default="rates")
    words.add_argument("--backbone", nargs="+", default=["mobilenet_v3_small", "resnet18"])
    words.add_argument("--size", type=int, nargs="+", default=[64, 224])
    words.add_argument("--format", nargs="+", default=["PNG", "JPEG"])
    words.add_argument("--images", type=Path, help="a ZIP archive of photos")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=4.0)
    words.add_argument("--requests", type=int, default=100_000)
    words.add_argument("--litserve", help="a Python that has litserve and torch")
    given = words.parse_args()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ.update({"HONE_WORKERS": "1", "HONE_ANSWER_CACHE": "0"})
    sys.path.insert(0, str(REPOSITORY))
    models = product(given.backbone, given.size, given.format)
    for backbone, size, file_format in [TINY] if given.what == "tiny" else models:
        with tempfile.TemporaryDirectory() as folder:
            _compare(Path(folder), backbone, size, file_format, given)


def _compare(
    folder: Path, backbone: str, size: int, file_format: str, given: argparse.Namespace
) -> None:
    from benchmarks.servers.model import make_images, make_workspace
    from benchmarks.servers.peers import RAW_ANSWER

    images = make_images(given.images, IMAGES, size, file_format)
    make_workspace(folder / "workspace", backbone, size, images)
    os.environ["HONE_WORKSPACE"] = str(folder / "workspace")
    print(f"\n{backbone}, {size} px, {file_format}")
    with ExitStack() as stack:
        servers = [_start(stack, folder, "ours")]
        print(f"  runtime: {_chosen(servers[0])}")
        _write_bodies(folder, servers, images)
        if given.what == "memory":
            _memory(folder, servers[0], given.requests)
            return
        names = ["bare", "synced", "default", "fastapi", *(["litserve"] if given.litserve else [])]
        if given.what == "tiny":
            answers = _load(folder, servers[0], 1, seconds=None, keep=True).answers
            os.environ[RAW_ANSWER], names = answers[0], ["bare", "raw"]
        servers += [_start(stack, folder, name, given.litserve) for name in names]
        _write_bodies(folder, servers[1:], images)
        _check_labels(folder, [one for one in servers if one.name != "raw"])
        _show(servers, _measure(folder, servers, given.rounds, given.seconds))
        _bulk(folder, servers[0], images)


def _start(stack: ExitStack, folder: Path, name: str, python: str | None = None) -> Running:
    from tasks.demo import servers

    own = folder / name
    own.mkdir(exist_ok=True)
    starts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "ours": lambda: servers.bentoml(REPOSITORY, own),
        "bare": lambda: _uvicorn("bare", own),
        "synced": lambda: _uvicorn("synced", own),
        "raw": lambda: _uvicorn("raw", own),
        "fastapi": lambda: _uvicorn("fastapi_and_torch", own),
        "default": lambda: _default(own),
        "litserve": lambda: _litserve(str(python), own),
    }
    before = set(psutil.Process().children())
    server = stack.enter_context(starts[name]())
    [process] = set(psutil.Process().children()) - before
    return Running(name, int(server.url.rpartition(":")[2]), process)


def _default(folder: Path) -> AbstractContextManager[Any]:
    from benchmarks.servers.peers import DEFAULT_SERVICE
    from tasks.demo import servers

    (folder / "default.py").write_text(DEFAULT_SERVICE)
    (folder / "bentofile.yaml").write_text('service: "default:Default"\n')
    return servers.bentoml(folder, folder / "run", {"PYTHONPATH": str(REPOSITORY)})


def _uvicorn(factory: str, folder: Path) -> AbstractContextManager[Any]:
    target = f"benchmarks.servers.peers:{factory}"
    words = ["-m", "uvicorn", "--factory", target, "--no-access-log", "--port"]
    return _listening([sys.executable, *words], folder, "running on")


def _litserve(python: str, folder: Path) -> AbstractContextManager[Any]:
    return _listening(
        [python, "-m", "benchmarks.servers.with_litserve"], folder, "startup complete"
    )


@contextmanager
def _listening(command: list[str], folder: Path, ready: str) -> Iterator[Any]:
    from tasks.demo import servers

    port = servers.free_port()
    server = servers.Server(f"http://127.0.0.1:{port}", folder / "server.log")
    with servers.running(
        [*command, str(port)],
        server=server,
        environment={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        ready=lambda: ready in server.log.read_text(),
    ):
        yield server


def _chosen(ours: Running) -> str:
    """What our service chose to compute with, once it has chosen."""
    end = time.monotonic() + CHOICE_SECONDS
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{ours.port}/status") as answer:
            runtime = json.load(answer)["runtime"]
        if runtime["settled"]:
            return json.dumps(runtime)
        time.sleep(0.5)
    raise RuntimeError(f"no runtime was chosen in {CHOICE_SECONDS} seconds")


def _write_bodies(folder: Path, servers: Sequence[Running], images: list[bytes]) -> None:
    """The body of each request of each server, as files for the client."""
    for server in servers:
        place = folder / f"bodies-{server.name}"
        place.mkdir()
        for number, image in enumerate(images):
            (place / f"{number:06d}").write_bytes(_body(server.name, [image]))


def _body(name: str, images: Sequence[bytes]) -> bytes:
    field = FIELDS.get(name)
    if field is None:
        return images[0]
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a"\r\n'
        f"Content-Type: image/{_subtype(image)}\r\n\r\n".encode()
        + image
        + b"\r\n"
        for image in images
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _subtype(image: bytes) -> str:
    return "jpeg" if image.startswith(b"\xff\xd8") else "png"


def _load(
    folder: Path, server: Running, clients: int, *, seconds: float | None, keep: bool = False,
    bodies: str | None = None,
) -> Any:  # fmt: skip
    from benchmarks.servers.client import Load, Result

    kind = f"multipart/form-data; boundary={BOUNDARY}" if server.name in FIELDS else "image/png"
    load = Load(
        "127.0.0.1", server.port, str(folder / (bodies or f"bodies-{server.name}")),
        f"Content-Type: {kind}\r\n", clients, seconds, keep,
    )  # fmt: skip
    specification = folder / "load.json"
    specification.write_text(json.dumps(asdict(load)))
    command = [sys.executable, "-m", "benchmarks.servers.client", str(specification)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the client of {server.name} ended: {done.stderr[-2000:]}")
    result = Result(**json.loads(done.stdout))
    if result.failed:
        raise RuntimeError(f"{server.name} did not answer: {result.failed[0]}")
    return result


def _check_labels(folder: Path, servers: Sequence[Running]) -> None:
    """Every server gives each of the images the same label."""
    labels: dict[str, list[str]] = {}
    for server in servers:
        result = _load(folder, server, 8, seconds=None, keep=True)
        labels[server.name] = [_label(answer) for answer in result.answers]
    ours = labels["ours"]
    for name, others in labels.items():
        same = sum(map(str.__eq__, ours, others))
        print(f"  labels as ours: {name} {same} of {len(ours)}, {len(set(others))} classes")
        if same < 0.999 * len(ours):
            raise RuntimeError(f"{name} gives other labels: the figures would not compare")


def _label(answer: str) -> str:
    shown = json.loads(answer)
    return str(shown["predictions"][0]["label"] if "predictions" in shown else shown["label"])


def _measure(
    folder: Path, servers: Sequence[Running], rounds: int, seconds: float
) -> dict[tuple[str, int], list[Measured]]:
    """Of each server and number of clients the turns, the first left out."""
    turns: dict[tuple[str, int], list[Measured]] = {}
    for turn in range(rounds + 1):
        for clients in CLIENTS:
            for server in servers:  # in turns: a busy machine hits them all
                before = server.processor()
                result = _load(folder, server, clients, seconds=seconds)
                spent = 1000 * (server.processor() - before) / result.done
                late = result.latencies[int(0.99 * len(result.latencies))]
                middle = statistics.median(result.latencies)
                if turn:
                    rate = result.done / result.seconds
                    measured = Measured(rate, middle, late, spent)
                    turns.setdefault((server.name, clients), []).append(measured)
    return turns


def _show(servers: Sequence[Running], turns: dict[tuple[str, int], list[Measured]]) -> None:
    """A line for each server: medians of the turns, and what ours is of it."""
    print("  clients   server   req/s  p50 ms  p99 ms  processor ms   ours: rate   p50   p99")
    for clients in CLIENTS:
        ours = _median(turns["ours", clients])
        for server in servers:
            one = _median(turns[server.name, clients])
            print(
                f"  {clients:7} {server.name:>8} {one.rate:7.0f} {one.p50:7.2f} {one.p99:7.2f}"
                f" {one.processor:13.2f}   {ours.rate / one.rate:10.2f} {ours.p50 / one.p50:5.2f}"
                f" {ours.p99 / one.p99:5.2f}"
            )


def _median(turns: Sequence[Measured]) -> Measured:
    return Measured(
        *(
            statistics.median(getattr(one, name) for one in turns)
            for name in Measured.__match_args__
        )
    )


def _bulk(folder: Path, ours: Running, images: list[bytes]) -> None:
    """Requests of 64 images, beside decoding and predicting them in one process."""
    from benchmarks.servers.peers import batched

    place = folder / "bodies-bulk"
    place.mkdir()
    for number in range(8):
        (place / str(number)).write_bytes(_body("ours", images[64 * number :][:64]))
    _load(folder, ours, 1, seconds=1, bodies="bodies-bulk")
    served, alone = [], []
    for _ in range(3):
        before = ours.processor()
        result = _load(folder, ours, 1, seconds=3, bodies="bodies-bulk")
        served.append(
            (64 * result.done / result.seconds, (ours.processor() - before) / result.done)
        )
        alone.append(batched(images[:512], 64))
    rate, spent = (statistics.median(column) for column in zip(*served, strict=True))
    bare_rate, bare_spent = (statistics.median(column) for column in zip(*alone, strict=True))
    print(
        f"  64 images a request: {rate:.0f} images/s, {1000 * spent / 64:.2f} processor ms each; "
        f"decoded and predicted in one process {bare_rate:.0f}/s, {1000 * bare_spent / 64:.2f} ms: "
        f"{rate / bare_rate:.2f} of its rate, {bare_spent / spent:.2f} by processor time"
    )


def _memory(folder: Path, ours: Running, requests: int) -> None:
    """Memory after each tenth of the requests."""
    done, shown = 0, []
    while done < requests:
        done += _load(folder, ours, 16, seconds=20).done
        shown.append(ours.memory() / 2**20)
        print(f"  {done:7} requests: {shown[-1]:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
