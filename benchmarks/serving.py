"""How many requests a second does the service answer, beside the same model served in other ways?

    python benchmarks/serving.py [--backbone resnet18] [--image-size 32] [--rounds 3] [--seconds 4]

Three servers on this machine, one worker and one thread each, take turns: `ours` (bentoml serve of
this repository: every image checked, every answer on disk before it is given), `bare` (uvicorn and
a few lines of ASGI: no checks, no record) and `default` (BentoML with its own image field). Each
request is one PNG. The client is a process of its own and refuses redirects. On a shared machine
the processor time of a request says more than the rate.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[1]
CLIENTS = (1, 16)
NAMES = ("ours", "bare", "default")


def bare() -> Any:
    """An ASGI application that takes a PNG as the body and answers with the model's JSON."""
    import numpy as np
    import torch
    from PIL import Image

    network, classes, size = _network()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = b"{}"
        if body:
            picture = np.array(Image.open(BytesIO(body)).convert("RGB").resize((size, size)))
            with torch.inference_mode():
                images = torch.from_numpy(picture).permute(2, 0, 1)[None]
                probs = network(images).softmax(1)[0].tolist()
            best = max(range(len(probs)), key=probs.__getitem__)
            answer = json.dumps({"label": classes[best], "probabilities": probs}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _network() -> tuple[Any, tuple[str, ...], int]:
    """The champion of HONE_WORKSPACE, as the other servers have it too."""
    import torch

    from core.database import connect
    from core.workspace import load_workspace
    from models.registry.model_store import load_model
    from models.registry.releases import champion

    torch.set_num_threads(1)
    workspace = load_workspace(Path(os.environ["HONE_WORKSPACE"]))
    engine = connect(workspace.database)
    version = champion(engine)
    assert version
    loaded = load_model(engine, workspace.bento_home, version)
    return loaded.network, loaded.card.classes, loaded.card.image_size


DEFAULT_SERVICE = '''
"""BentoML as its documentation shows it."""
from __future__ import annotations
import bentoml
import numpy as np
import torch
from PIL.Image import Image
from benchmarks.serving import _network

@bentoml.service
class Default:
    def __init__(self) -> None:
        self.network, self.classes, self.size = _network()

    @bentoml.api
    def predict(self, image: Image) -> dict:
        picture = np.array(image.convert("RGB").resize((self.size, self.size)))
        with torch.inference_mode():
            images = torch.from_numpy(picture).permute(2, 0, 1)[None]
            probs = self.network(images).softmax(1)[0].tolist()
        best = max(range(len(probs)), key=probs.__getitem__)
        return {"label": self.classes[best], "probabilities": probs}
'''


def main() -> None:
    """Print the table, and write the picture beside this file's results."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--backbone", default="resnet18")
    words.add_argument("--image-size", type=int, default=32)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=4.0)
    words.add_argument("--picture", type=Path, default=Path("serving.png"))
    given = words.parse_args()
    os.environ.update({"OMP_NUM_THREADS": "1", "HONE_THREADS": "1"})
    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        image = _make_workspace(Path(folder), given.backbone, given.image_size)
        urls = _start(stack, Path(folder))
        found = _measure(urls, image, rounds=given.rounds, seconds=given.seconds)
    _show(found, given.picture)


def _make_workspace(folder: Path, backbone: str, size: int) -> bytes:
    """A workspace with a released model that learned nothing; return an image to send."""
    import numpy as np
    import torch
    from PIL import Image

    from core.database import connect, now, upgrade
    from core.workspace import load_workspace
    from models.network.network import NetworkConfig, build
    from models.registry.model_card import ModelCard
    from models.registry.model_store import save_model
    from models.registry.releases import release
    from models.scoring.predict import predict

    classes = tuple(f"class-{number}" for number in range(10))
    named = "".join(f'[[class]]\nname = "{name}"\n' for name in classes)
    (folder / "hone.toml").write_text(f"image_size = {size}\n{named}")
    workspace = load_workspace(folder)
    engine = connect(workspace.database)
    upgrade(engine)
    network = build(NetworkConfig(backbone), classes=10, image_size=size).eval()
    images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    card = ModelCard(
        classes=classes, image_size=size, network={"backbone": backbone}, snapshot="none",
        code_commit="none", seed=0, train={}, strategy="none", metrics={},
        created_at=now(),
    )  # fmt: skip
    version = save_model(engine, workspace.bento_home, network, card, predict(network, images))
    release(engine, version=version, verdict_id=None, who="benchmark", why="to be measured",
            expected=0, override=True)  # fmt: skip
    os.environ["HONE_WORKSPACE"] = str(workspace.root)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def _start(stack: ExitStack, folder: Path) -> dict[str, tuple[str, psutil.Process]]:
    """The address and the process of each server."""
    from tasks.demo import servers

    (folder / "default.py").write_text(DEFAULT_SERVICE)
    (folder / "bentofile.yaml").write_text('service: "default:Default"\n')
    path = {"PYTHONPATH": str(REPOSITORY)}
    starts = {
        "ours": lambda: servers.bentoml(REPOSITORY, folder / "ours", {"HONE_WORKERS": "1"}),
        "bare": lambda: _uvicorn(folder),
        "default": lambda: servers.bentoml(folder, folder / "default", path),
    }
    found = {}
    for name, start in starts.items():
        before = set(psutil.Process().children())
        server = stack.enter_context(start())
        [process] = set(psutil.Process().children()) - before
        found[name] = server.url, process
    return found


@contextmanager
def _uvicorn(folder: Path) -> Iterator[Any]:
    from tasks.demo import servers

    port = servers.free_port()
    server = servers.Server(f"http://127.0.0.1:{port}", folder / "bare.log")
    words = ["--factory", "benchmarks.serving:bare", "--port", str(port), "--no-access-log"]
    with servers.running(
        [sys.executable, "-m", "uvicorn", *words],
        server=server,
        environment={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        ready=lambda: "running on" in server.log.read_text(),
    ):
        yield server


def _measure(
    started: dict[str, tuple[str, psutil.Process]], image: bytes, *, rounds: int, seconds: float
) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Of each server and number of clients, for each round: requests a second, ms of processor."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        for clients in CLIENTS:
            for name, (url, process) in started.items():  # turns: a busy machine hits them all
                before = _processor(process)
                done, took = asyncio.run(_load(name, url, image, clients, seconds))
                spent = 1000 * (_processor(process) - before) / done
                if turn:  # the first turn warms up
                    found.setdefault((name, clients), []).append((done / took, spent))
    return found


def _processor(process: psutil.Process) -> float:
    """Seconds of processor that a server's processes have used."""
    tree = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in tree)


async def _load(
    name: str, url: str, image: bytes, clients: int, seconds: float
) -> tuple[int, float]:
    import aiohttp

    end, done = time.perf_counter() + seconds, 0
    field = {"ours": "images", "default": "image"}.get(name)

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal done
        while time.perf_counter() < end:
            body: Any = image
            if field:
                body = aiohttp.FormData()
                body.add_field(field, image, filename="a.png", content_type="image/png")
            async with session.post(f"{url}/predict", data=body, allow_redirects=False) as answer:
                if answer.status != 200 or "label" not in await answer.text():
                    raise RuntimeError(f"{name} answered {answer.status}: {await answer.text()}")
            done += 1

    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return done, time.perf_counter() - began


def _show(found: dict[tuple[str, int], list[tuple[float, float]]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    medians = {key: statistics.median(rate for rate, _ in turns) for key, turns in found.items()}
    print("clients   server  req/s (lowest to highest)   ours is   processor ms a request")
    for clients in CLIENTS:
        for name in NAMES:
            rates, spent = zip(*found[name, clients], strict=True)
            rate, ratio = medians[name, clients], medians["ours", clients] / medians[name, clients]
            print(
                f"{clients:7} {name:>8} {rate:6.0f} ({min(rates):5.0f} to {max(rates):5.0f})"
                f" {ratio:13.2f} x {statistics.median(spent):15.1f}"
            )
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for place, name in enumerate(NAMES):
        heights = [medians[name, clients] for clients in CLIENTS]
        axes.bar([spot + 0.27 * place for spot in range(len(CLIENTS))], heights, 0.25, label=name)
    axes.set_xticks([spot + 0.27 for spot in range(len(CLIENTS))])
    axes.set_xticklabels([f"{clients} at a time" for clients in CLIENTS])
    axes.set_ylabel("requests per second")
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
