"""What does a challenger in shadow cost the callers, and how much of the traffic does it see?

    python benchmarks/shadow.py [--backbone mobilenet_v3_small] [--load 0.7] [--rounds 8]

One service; images of noise, each another one, arrive at random moments at a share of what it can
answer. The shadow is switched on and off by the release record, in turns; the client is a process
of its own. The latency of a request is counted from the moment at which it was due.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
SETTLING = 3.0  # seconds after a switch that are not counted: the model is loaded


def main() -> None:
    """Print the latencies with the shadow off and on, and what it saw."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--backbone", default="mobilenet_v3_small")
    words.add_argument("--image-size", type=int, default=64)
    words.add_argument("--load", type=float, default=0.7, help="share of what it can answer")
    words.add_argument("--rounds", type=int, default=8)
    words.add_argument("--seconds", type=float, default=10.0)
    words.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    given = words.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    if given.client:
        url, rate, seconds, size = given.client
        print(asyncio.run(_client(url, float(rate), float(seconds), int(size))))
        return
    os.environ.update({"OMP_NUM_THREADS": "1", "HONE_THREADS": "1", "HONE_ANSWER_CACHE": "0"})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        _compare(given, Path(folder), stack)


def _compare(given: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    import torch

    from benchmarks.servers.model import make_images, make_workspace
    from core.database import connect
    from core.workspace import load_workspace
    from models.registry.challengers import end_challenger, set_challenger
    from models.registry.model_store import load_model, save_model
    from models.registry.releases import Mode, current_release
    from tasks.demo import servers

    images = make_images(None, 256, given.image_size, "PNG")
    make_workspace(folder / "workspace", given.backbone, given.image_size, images)
    workspace = load_workspace(folder / "workspace")
    os.environ["HONE_WORKSPACE"] = str(workspace.root)
    engine = connect(workspace.database)
    first = current_release(engine)
    assert first is not None
    loaded = load_model(engine, workspace.bento_home, first.champion)
    with torch.no_grad():  # another model, as fast
        for weights in loaded.network.parameters():
            weights.add_(1e-4)
    other = save_model(
        engine,
        workspace.bento_home,
        loaded.network,
        replace(loaded.card, seed=1),
        loaded.reference,
        list(loaded.reference_ids),
    )
    server = stack.enter_context(servers.bentoml(REPOSITORY, folder / "service"))
    _run(server.url, 0.0, 3.0, given.image_size)  # warms up
    capacity = len(_run(server.url, 0.0, 5.0, given.image_size)) / 5.0
    rate = given.load * capacity
    print(f"{capacity:.0f} requests a second are answered; {rate:.0f} are sent")
    latencies: dict[str, list[list[float]]] = {"off": [], "on": []}
    who = {"who": "benchmark", "why": "to be measured"}
    for turn in range(2 * given.rounds):
        name = ("off", "on", "on", "off")[turn % 4]
        current = current_release(engine)
        assert current is not None
        if name == "on" and current.challenger is None:
            set_challenger(engine, version=other, mode=Mode.SHADOW, **who, expected=current.number)
        elif name == "off" and current.challenger is not None:
            end_challenger(engine, **who, expected=current.number)
        time.sleep(SETTLING)
        latencies[name].append(_run(server.url, rate, given.seconds, given.image_size))
        if name == "on":
            print(f"turn {turn}: {_status(server.url)}")
    _show(latencies)


def _run(url: str, rate: float, seconds: float, size: int) -> list[float]:
    """The latencies of requests at a rate, or of sixteen clients that wait for no one (0)."""
    command = [sys.executable, __file__, "--client", url, str(rate), str(seconds), str(size)]
    answered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [float(one) for one in answered.split(",")]


async def _client(url: str, rate: float, seconds: float, size: int) -> str:
    import aiohttp

    rng, taken = random.Random(), list[float]()
    images = [_image(rng, size) for _ in range(512)]

    async def send(session: aiohttp.ClientSession, due: float) -> None:
        body = aiohttp.FormData()
        image = images[rng.randrange(len(images))]
        body.add_field("images", image, filename="a.png", content_type="image/png")
        async with session.post(f"{url}/predict", data=body) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")
        taken.append(time.perf_counter() - due)

    async def clients(session: aiohttp.ClientSession, until: float) -> None:
        while time.perf_counter() < until:
            await send(session, time.perf_counter())

    began = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        if rate == 0:
            await asyncio.gather(*(clients(session, began + seconds) for _ in range(16)))
        else:
            due, sent = began, list[Any]()
            while (due := due + rng.expovariate(rate)) < began + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                sent.append(asyncio.create_task(send(session, due)))
            await asyncio.gather(*sent)
    return ",".join(f"{one:.6f}" for one in taken)


def _image(rng: random.Random, size: int) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.frombytes("RGB", (size, size), rng.randbytes(size * size * 3)).save(file, "PNG")
    return file.getvalue()


def _status(url: str) -> Any:
    import httpx

    return httpx.get(f"{url}/status", timeout=10).json()["shadow"]


def _show(latencies: dict[str, list[list[float]]]) -> None:
    figures = {}
    for name, turns in latencies.items():
        every = sorted(one for turn in turns for one in turn)
        cuts = statistics.quantiles(every, n=100)
        figures[name] = cuts[49], cuts[98]
        each = " ".join(f"{1000 * statistics.quantiles(turn, n=100)[98]:.1f}" for turn in turns)
        print(
            f"shadow {name:>3}: {len(every)} requests, p50 {1000 * cuts[49]:.2f} ms, p99 "
            f"{1000 * cuts[98]:.2f} ms (by turn {each})"
        )
    for place, name in enumerate(("p50", "p99")):
        print(f"{name} on / off: {figures['on'][place] / figures['off'][place]:.3f}")


if __name__ == "__main__":
    main()
