"""The service inside Label Studio: the workspace's project asks it for guesses it does not have."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labeling.studio.client import Studio

USER = "hone"  # the service asks for the password only, Label Studio for both


def connect_backend(studio: Studio, url: str, secret: str, *, model: str | None) -> int | None:
    """Let the project ask the service at `url` for guesses; return the backend's id there.

    Idempotent. `model` is the version whose guesses were sent last, so call it after sending: the
    queue stays sorted by them whichever model the service has meanwhile. Before the first model
    there is nothing to ask for: nothing is connected, None.
    """
    if model is None:
        return None
    _check(url, secret)
    wanted = {
        "project": studio.project_id,
        "url": url,
        "title": model,
        "extra_params": {"model_version": model},  # what the service then answers to /setup
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": USER,
        "basic_auth_pass": secret,
    }
    with _plain_words(studio, url):
        there = studio.client.ml.list(project=studio.project_id)
        ours = [known.id for known in there if _same(known.url, url)]
        if ours:
            backend = studio.client.ml.update(min(ours), **wanted)
        else:
            backend = studio.client.ml.create(**wanted)
            _stop_events(studio, url)
    return int(backend.id)


def _stop_events(studio: Studio, url: str) -> None:
    """Take back the webhook that came with the backend: annotators would wait for it each time."""
    for hook in studio.client.webhooks.list(project=studio.project_id):
        if hook.url == f"{url.rstrip('/')}/webhook":
            studio.client.webhooks.delete(hook.id)


def _check(url: str, secret: str) -> None:
    if not re.fullmatch(r"https?://[^/\s@]+/\S+", url):
        raise ValueError(
            f"HONE_BACKEND_URL is {url!r}; an address like http://127.0.0.1:3000/label-studio, as "
            "Label Studio reaches the service, is needed"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise ValueError(
            "HONE_BACKEND_SECRET is empty or has blanks or letters beyond ASCII, which do not pass "
            "as a password over HTTP; choose another for the service and here"
        )


@contextmanager
def _plain_words(studio: Studio, url: str) -> Iterator[None]:
    """Say in one sentence why Label Studio does not take the service."""
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        reason = _plain_text(error.body)
        if error.status_code == 403 and "network address" in reason:
            raise ValueError(
                f"Label Studio at {studio.url} calls no local or private address such as {url}; "
                "start it with LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS=false and "
                "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS=<the networks it still must not call>"
            ) from error
        if error.status_code != 400:
            raise
        if "authentication parameters" in reason:
            raise ValueError(
                f"the service at {url} does not know this HONE_BACKEND_SECRET; set the same for "
                "the service and here, and start the service again"
            ) from error
        raise ConnectionError(
            f"Label Studio at {studio.url} does not get through to the service at {url}: start "
            "`bentoml serve` with HONE_BACKEND_SECRET set, or correct HONE_BACKEND_URL, which is "
            f"the address as Label Studio sees it ({reason.rpartition('info: ')[2][:200]})"
        ) from error


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def _plain_text(body: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^<>]*>", "", str(body)))
