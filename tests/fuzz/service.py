"""What the service reads: images, forms, and Label Studio's requests to a model."""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse

from core.http_access import RateLimit
from core.images import CleanImage, ImageRefused, clean_image, decode_image, decode_inspected
from labeling.ingest.files import ImageFile, read_file
from labeling.studio import webhook as studio_webhook
from models.kinds import KINDS
from models.serving import label_studio
from models.serving.decoders import _inspected, _refusal
from models.serving.direct import head_of
from models.serving.screen import screen_of
from models.serving.staged_images import Unreadable, staged_folder_images
from tests.fuzz import seeds
from tests.models.serving.test_direct import by_h11
from tests.models.serving.test_requests import Client

KIND = KINDS["classification"]
SECRET = "sesame"
Act = Callable[[bytes], object]


def image(folder: Path) -> Act:
    """An image, taken or refused alike by ingest and by the service, with the same pixels."""
    path = folder / "a"

    def act(content: bytes) -> object:
        path.write_bytes(content)
        ingested, served = read_file(ImageFile(str(path), 0, 0)).outcome, _served(content)
        if isinstance(ingested, ImageRefused):
            error = {"reason": ingested.reason, "detail": ingested.detail}
            assert served == {"error": error}
            return ingested
        pixels = decode_image(ingested.content)
        assert np.array_equal(pixels, served)
        _check_pixels(ingested, pixels)
        return None

    return act


def _served(received: bytes) -> Any:
    """The pixels that the service sees of an image, or its answer that refuses it."""
    try:
        inspected = _inspected(received)
        return inspected if isinstance(inspected, dict) else decode_inspected(inspected)
    except Exception as error:
        return _refusal(error)


def _check_pixels(accepted: CleanImage, pixels: np.ndarray) -> None:
    assert pixels.shape == (accepted.height, accepted.width, 3)
    with Image.open(io.BytesIO(accepted.content)) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), pixels), "two decoders differ"
    again = clean_image(accepted.content)
    assert np.array_equal(decode_image(again.content), pixels), "cleaning changed the pixels"


def form(folder: Path) -> Act:
    """A request: its content type in the first line, its body behind it."""

    def act(content: bytes) -> object:
        kind, _, body = content.partition(b"\n")
        half = len(body) // 2
        given = Client([body[:half], body[half:]], {"content-type": kind.decode("latin-1")}).read()
        for name, received in given:
            assert JSONResponse({"file": name}).body
            _served(received)
        return None

    return act


def heads() -> list[bytes]:
    """Requests for predictions, ordinary and almost so."""
    more = b"Content-Type: multipart/form-data; boundary=x\r\nX-Request-ID: a-1\r\nAccept: */*\r\n"
    kept = b"Connection: keep-alive\r\nUser-Agent: curl/8\r\nAuthorization: Bearer abc\r\n"
    forms = (b"", more, kept, more + kept, b"Transfer-Encoding: chunked\r\n", b"Expect: x\r\n")
    begin = b"POST /predict HTTP/1.1\r\nHost: a:3000\r\n"
    return [begin + form + b"Content-Length: 20\r\n\r\n" + b"a" * 20 for form in forms]


def head(folder: Path) -> Act:
    """A request that is read without h11, if h11 reads the same: its headers, length and body."""

    def act(content: bytes) -> object:
        read = head_of(content)
        if read is None:
            return ValueError("it is left to h11")
        assert read.length < 10**10
        whole = content[: read.begin + read.length]
        assert (read.headers, whole[read.begin :][: read.length]) == by_h11(whole)
        return None

    return act


class _Inference:
    """Answers at once that each image is a cat."""

    def ask(self, request_id: str, images: list[bytes], *, recorded: bool) -> Future[Any]:
        answers: Future[Any] = Future()
        answers.set_result(
            [{"label": "cat", "confidence": 0.5, "model": "hone:0001-a"}] * len(images)
        )
        return answers


def backend(folder: Path) -> Act:
    """A body that is sent to each address of the model inside Label Studio."""
    card = SimpleNamespace(classes=seeds.CLASSES, label_kind=KIND)
    active = SimpleNamespace(model=SimpleNamespace(version="hone:0001-a", card=card))
    (folder / "images").mkdir()
    for number in range(2):
        (folder / "images" / f"{number}.png").write_bytes(b"an image")
    app = Starlette(routes=label_studio.ROUTES)
    read_image = staged_folder_images(folder)
    made = label_studio.Backend(
        cast(Any, _Inference()), cast(Any, lambda: active), read_image=read_image, secret=SECRET
    )
    made.limit = RateLimit(per_second=1e9)
    app.state.hone = SimpleNamespace(backend=made)
    addresses = ("/setup", "/predict", "/webhook")

    def act(content: bytes) -> object:
        async def ask() -> list[httpx.Response]:
            transport, auth = httpx.ASGITransport(app), httpx.BasicAuth("hone", SECRET)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://h", auth=auth
            ) as line:
                wrong = {b"authorization": content[:200].replace(b"\n", b"")}
                denied = await line.get("/health", headers=wrong, auth=None)
                assert denied.status_code == 401
                return [await line.post(address, content=content) for address in addresses]

        responses = asyncio.run(ask())
        for response in responses:
            assert response.status_code in (200, 400, 413)
            assert response.status_code == 200 or response.json()["error"]["reason"]
        return None

    return act


def screens() -> list[bytes]:
    """A labelling screen."""
    return [seeds.SCREEN.encode()]


def screen(folder: Path) -> Act:
    """The control of a labelling screen, or none."""

    def act(content: bytes) -> object:
        config = content.decode("utf-8", "surrogateescape")
        screen = screen_of(config, seeds.CLASSES, KIND)
        return None if screen is None or screen.classes else screen

    return act


def staged_image(folder: Path) -> Act:
    """An address that Label Studio sends, looked up among the staged images."""
    (folder / "images").mkdir()
    for name in ("images/1.png", "secret.png"):
        (folder / name).write_bytes(name.encode())
    made = label_studio.Backend(
        cast(Any, None), cast(Any, None), read_image=staged_folder_images(folder), secret=SECRET
    )
    screen = screen_of(seeds.SCREEN, seeds.CLASSES, KIND)
    assert screen is not None

    def act(content: bytes) -> object:
        address = content.decode("utf-8", "surrogateescape")
        read = made._image({"data": {"image": address}}, screen)
        assert read == b"images/1.png" or isinstance(read, Unreadable)
        return read

    return act


def webhook(folder: Path) -> Act:
    """A call of Label Studio's that somebody answered."""
    calls: list[int] = []
    app = studio_webhook.receiver(SECRET, lambda: calls.append(1), pause=0)

    def act(content: bytes) -> object:
        async def call(secret: str) -> int:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://h") as line:
                headers = {studio_webhook.HEADER: secret}
                response = await line.post("/label-studio/x", content=content, headers=headers)
                return response.status_code

        assert asyncio.run(call(SECRET)) in (204, 413, 429)
        assert asyncio.run(call(content[:50].hex())) == 403
        return None

    return act
