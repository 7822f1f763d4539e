"""The same model served in other ways: bare uvicorn, FastAPI, BentoML by its manual."""

import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.servers.model import answer_of, champion, decoded

RAW_ANSWER = "HONE_BENCHMARK_RAW_ANSWER"  # in the environment: what `raw` answers
DEFAULT_SERVICE = '''
"""BentoML as its documentation shows it."""
from __future__ import annotations
import bentoml
import numpy as np
import torch
from PIL.Image import Image
from benchmarks.servers.model import answer_of, champion

@bentoml.service
class Default:
    def __init__(self) -> None:
        model = champion()
        self.network, self.size = model.network.eval(), model.card.image_size

    @bentoml.api
    def predict(self, image: Image) -> dict:
        picture = np.array(image.convert("RGB").resize((self.size, self.size)))
        with torch.inference_mode():
            images = torch.from_numpy(picture).permute(2, 0, 1)[None]
            return answer_of(self.network(images).softmax(1)[0].tolist())
'''


def bare() -> Any:
    """An ASGI application: the body is the image. No form, no check, no record, one at a time.

    It predicts with the runtime that our service chose.
    """
    outputs = _served_runtime()
    return _app(lambda body: json.dumps(answer_of(outputs(body))).encode() if body else b"{}")


def synced() -> Any:
    """`bare` that puts each image and its answer on the disk first: what a promise costs at least.

    One file, no check, no statistics, one fdatasync for each request.
    """
    outputs = _served_runtime()
    record = (Path(os.environ["HONE_WORKSPACE"]) / "synced").open("xb", buffering=0)

    def answer_to(body: bytes) -> bytes:
        if not body:
            return b"{}"
        answer = json.dumps(answer_of(outputs(body))).encode()
        record.write(b"%d %d " % (len(body), len(answer)) + body + answer)
        os.fdatasync(record.fileno())
        return answer

    return _app(answer_to)


def raw() -> Any:
    """`bare` without an image: the forward pass on a fixed one, and an answer that is given."""
    import torch

    answer, predict = os.environ[RAW_ANSWER].encode(), _runtime().predict
    size = champion().card.image_size
    pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    return _app(lambda body: answer if len(predict(pixels)) else body)


def _app(answer_to: Callable[[bytes], bytes]) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = answer_to(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _served_runtime() -> Any:
    predict = _runtime().predict
    return lambda body: predict(decoded(body)).outputs[0]


@cache
def _runtime() -> Any:
    from core.workspace import load_workspace
    from models.runtimes.loading import eager, served_as_chosen
    from models.runtimes.policy import Policy

    model = champion()
    workspace = load_workspace(Path(os.environ["HONE_WORKSPACE"]))
    policy = Policy(os.environ.get("HONE_RUNTIME", "auto"))
    chosen = served_as_chosen(model, workspace.runtimes, policy=policy, threads=1)
    return chosen or eager(model, threads=1)


def batched(images: list[bytes], size: int) -> tuple[float, float]:
    """Images a second, and processor seconds a batch, of decoding and predicting in this thread."""
    import torch

    predict = _runtime().predict
    began, spent = time.perf_counter(), time.process_time()
    for start in range(0, len(images), size):
        predict(torch.cat([decoded(one) for one in images[start : start + size]]))
    batches = len(images) / size
    return len(images) / (time.perf_counter() - began), (time.process_time() - spent) / batches


def fastapi_and_torch() -> Any:
    """FastAPI with an upload and eager torch, as tutorials show it."""
    import torch
    from fastapi import FastAPI, UploadFile

    network = champion().network.eval()
    app = FastAPI()

    @app.post("/predict")
    def predict(image: UploadFile) -> dict[str, Any]:
        with torch.inference_mode():
            return answer_of(network(decoded(image.file.read())).softmax(1)[0].tolist())

    return app
