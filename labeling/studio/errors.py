"""What went wrong with Label Studio, in one sentence with the remedy and without the token."""

import base64
import binascii
import json
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.text import short

if TYPE_CHECKING:
    import httpx

NEW_TOKEN = "make a new one in Label Studio under Account & Settings > Personal Access Token"  # noqa: S105


def check_address(url: str, api_key: str) -> None:
    """Refuse an address or a token that cannot be one, before anything is sent."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"LABEL_STUDIO_URL is {url!r}; an address like http://127.0.0.1:8080 is needed"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", api_key):
        raise ValueError(
            "LABEL_STUDIO_API_KEY is empty or has blanks, line breaks or signs that no token has; "
            f"copy it again, or {NEW_TOKEN}"
        )


def token_kind(api_key: str) -> str:
    """What a token is by its looks: the two kinds that work, and what gets mistaken for them."""
    if re.fullmatch(r"[0-9a-f]{40}", api_key):
        return "legacy token"
    claims = _claims(api_key)
    if claims is None:
        return "text that is neither a personal access token (JWT) nor a legacy one (40 hex digits)"
    if claims.get("token_type") == "access":
        return "short-lived access token"
    return "personal access token"


@contextmanager
def explained_errors(url: str, api_key: str) -> Iterator[None]:
    """Let failures of the client leave the block as one sentence each."""
    import httpx
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except httpx.ConnectError as error:
        raise ConnectionError(
            f"nothing answers at {url}: start Label Studio, wait if it is still starting (the "
            f"first time takes a minute), or correct LABEL_STUDIO_URL ({error})"
        ) from error
    except httpx.TimeoutException as error:
        raise ConnectionError(
            f"Label Studio at {url} took too long to answer; wait and try again"
        ) from error
    except httpx.TransportError as error:
        raise ConnectionError(
            f"Label Studio at {url} broke off the connection ({error}); wait and try again"
        ) from error
    except UnicodeDecodeError as error:
        raise ConnectionError(
            f"Label Studio at {url} sends what is no JSON ({error}); wait and try again; if that "
            "does not help, its log says what is wrong"
        ) from error
    except RecursionError as error:
        raise ValueError(
            f"Label Studio at {url} sends JSON that is nested too deeply to be read; look for a "
            "task or an annotation that nobody made by hand, and delete it"
        ) from error
    except ApiError as error:
        raise _sentence(error, url, api_key) from error
    except (AttributeError, TypeError, ValueError) as error:
        if not _is_of_client(error):
            raise
        raise ConnectionError(
            f"Label Studio at {url} sends JSON of another form than its client expects "
            f"({short(str(error))}); check LABEL_STUDIO_URL and the version of Label Studio"
        ) from error


def _is_of_client(error: BaseException) -> bool:
    """Whether the client of Label Studio, or the JSON that it reads, raised this."""
    frames = list(traceback.walk_tb(error.__traceback__))
    module = str(frames[-1][0].f_globals["__name__"])
    return module.partition(".")[0] in ("label_studio_sdk", "json")


def refused_token(response: "httpx.Response") -> None:
    """Raise the client's own error when a token is not exchanged, before the client reads JSON.

    What answers there with a page is a gateway, a server without its tables, or another site.
    """
    if not response.url.path.endswith("/api/token/refresh/"):
        return
    from label_studio_sdk.core.api_error import ApiError

    response.read()
    if "json" not in response.headers.get("content-type", ""):
        raise ApiError(
            status_code=response.status_code, headers=dict(response.headers), body=response.text
        )


def _sentence(error: Any, url: str, api_key: str) -> Exception:
    status, reason = error.status_code or 0, detail(error.body)
    if status in {401, 403}:
        return ValueError(
            f"Label Studio at {url} does not accept LABEL_STUDIO_API_KEY, a {token_kind(api_key)} "
            f"({reason}); {_remedy(api_key)}"
        )
    if 300 <= status < 400:
        target = (error.headers or {}).get("location", "another address")
        return ValueError(f"{url} sends us on to {target}; set LABEL_STUDIO_URL to what is meant")
    if status in {429, 408} or (status >= 500 and status != 501):  # 501: it never was one
        return ConnectionError(
            f"Label Studio at {url} failed with status {status} ({reason}); wait if it is still "
            "starting or migrating its database, and try again; if that does not help, its log "
            "says what is wrong"
        )
    if status == 404 and "No Project" in reason:
        return ValueError(
            f"Label Studio at {url} does not have this workspace's project any more: somebody "
            "deleted it; if that is meant, remove label-studio.json from the workspace and the "
            "next round starts a new project; if not, bring the server's database back"
        )
    if not isinstance(error.body, dict) or (status == 404 and "status_code" not in error.body):
        return ValueError(
            f"{url} answers, but not as Label Studio does (status {status}); check LABEL_STUDIO_URL"
        )
    return ValueError(f"Label Studio at {url} refused a request with status {status}: {reason}")


def _remedy(api_key: str) -> str:
    if token_kind(api_key) == "legacy token":
        return f"legacy tokens may be switched off there: {NEW_TOKEN}"
    return NEW_TOKEN


def detail(body: Any) -> str:
    """The reason that the server gives, short; a page of HTML has none."""
    if not isinstance(body, dict):
        return "no reason given"
    reason = " ".join(str(body[key]) for key in ("detail", "validation_errors") if body.get(key))
    return re.sub(r"\s+", " ", reason or json.dumps(body))[:300]


def _claims(token: str) -> dict[str, Any] | None:
    """What a JWT says about itself, None for anything else."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
