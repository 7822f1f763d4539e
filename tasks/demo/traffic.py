"""Images sent to the running service, as its users send them: over HTTP, as files in a form."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import httpx

AT_ONCE = 20  # images in one request


def send_images(url: str, images: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """What the service at `url` answers for each image, in order."""
    answers: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(images), AT_ONCE):
            files = [
                ("images", (name, png, "image/png"))
                for name, png in images[start : start + AT_ONCE]
            ]
            answer = client.post(
                "/predict", files=files, headers={"X-Request-ID": str(uuid.uuid4())}
            )
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(
                    f"{url}/predict answered {answer.status_code}: {answer.text[:300]}"
                )
            answers += answer.json()["predictions"]
    return answers


def wait_for_model(url: str, version: str, patience: float = 60.0) -> None:
    """Return when the service answers with `version`: it follows the release by itself."""
    deadline = time.monotonic() + patience
    while True:
        status = httpx.get(f"{url}/status", timeout=10).json()
        model = status.get("model")
        if model == version:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} still serves {model}, not {version}: {status}")
        time.sleep(0.2)
