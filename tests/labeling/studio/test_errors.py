"""Whatever is wrong with Label Studio's address or token is one sentence, without the token."""

import base64
import json

import httpx
import pytest
from label_studio_sdk.core.api_error import ApiError

from labeling.studio.errors import check_address, explained_errors, refused_token, token_kind

URL = "http://studio.example:8080"


def jwt(**claims) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                    for part in ({"alg": "HS256"}, claims, {}))  # fmt: skip


NEITHER = "text that is neither a personal access token (JWT) nor a legacy one (40 hex digits)"
LEGACY, PERSONAL, ACCESS = "0f" * 20, jwt(token_type="refresh"), jwt(token_type="access")


@pytest.mark.parametrize(
    ("api_key", "kind"),
    [
        (LEGACY, "legacy token"),
        (PERSONAL, "personal access token"),
        (ACCESS, "short-lived access token"),
        ("hello", NEITHER),
        ("a.b.c", NEITHER),
    ],
)  # fmt: skip
def test_a_token_is_told_by_its_looks(api_key, kind):
    assert token_kind(api_key) == kind


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", "http://", "file:///etc"])
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(ValueError, match="an address like http://") as error:
        check_address(url, LEGACY)
    assert repr(url) in str(error.value)


@pytest.mark.parametrize("api_key", ["", " ", f"{LEGACY}\n", "tök€n", "two words"])
def test_a_token_that_cannot_be_sent_is_refused_before_it_is(api_key):
    with pytest.raises(ValueError, match="LABEL_STUDIO_API_KEY is empty or has blanks") as error:
        check_address(URL, api_key)
    assert api_key.strip() == "" or api_key.strip() not in str(error.value)


@pytest.mark.parametrize("api_key", [LEGACY, PERSONAL, ACCESS])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named_by_its_kind_and_the_remedy(api_key, status):
    error = ApiError(status_code=status, headers={}, body={"detail": "Invalid token."})
    with pytest.raises(ValueError, match=f"a {token_kind(api_key)}") as caught:
        raised(error, api_key)
    said = str(caught.value)
    assert "Account & Settings > Personal Access Token" in said
    assert api_key not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (httpx.ConnectError("refused"), ConnectionError, "nothing answers at"),
        (httpx.ReadTimeout("slow"), ConnectionError, "took too long"),
        (httpx.RemoteProtocolError("gone"), ConnectionError, "broke off the connection"),
        (ApiError(status_code=502, body="<html>"), ConnectionError, "status 502"),
        (ApiError(status_code=429, body={}), ConnectionError, "status 429"),
        (ApiError(status_code=500, body="<html>"), ConnectionError, "still starting or migrating"),
        (
            ApiError(status_code=404, body={"detail": "No Project matches the given query."}),
            ValueError,
            "somebody deleted it; if that is meant, remove label-studio.json",
        ),
        (ApiError(status_code=200, body="<html>"), ValueError, "but not as Label Studio"),
        (ApiError(status_code=404, body="<html>"), ValueError, "but not as Label Studio"),
        (
            ApiError(status_code=404, body={"detail": "Not Found"}),  # somebody else's service
            ValueError,
            "but not as Label Studio does .status 404.; check LABEL_STUDIO_URL",
        ),
        (ApiError(status_code=301, headers={"location": "https://x/"}), ValueError, "https://x/"),
        (ApiError(status_code=400, body={"detail": "bad\nrow"}), ValueError, "status 400: bad row"),
    ],
)
def test_every_failure_is_one_sentence_that_names_the_server(error, kind, words):
    with pytest.raises(kind, match=words) as caught:
        raised(error, LEGACY)
    assert URL in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        ApiError(status_code=500),
    ],
)
def test_what_may_be_over_soon_says_to_wait(error):
    with pytest.raises(ConnectionError, match="wait"):
        raised(error, LEGACY)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(502, ConnectionError, "status 502"), (500, ConnectionError, "wait if it is still starting"),
     (200, ValueError, "but not as Label Studio"), (301, ValueError, "sends us on to https://x/")],
)  # fmt: skip
def test_a_page_instead_of_an_exchanged_token_is_the_servers_failure(status, kind, words):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, html="<h1>no</h1>", headers={"location": "https://x/"})

    hooks = {"response": [refused_token]}
    with httpx.Client(transport=httpx.MockTransport(answer), event_hooks=hooks) as line:
        assert line.get(f"{URL}/api/tasks").status_code == status  # the client reads all others
        with pytest.raises(kind, match=words), explained_errors(URL, PERSONAL):
            line.post(f"{URL}/api/token/refresh/")


def test_our_own_errors_pass_through_unchanged():
    with pytest.raises(ValueError, match=r"^mine$"):
        raised(ValueError("mine"), LEGACY)


def raised(error: Exception, api_key: str) -> None:
    with explained_errors(URL, api_key):
        raise error
