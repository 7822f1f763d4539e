"""What is refused before Label Studio is asked; the rest is in tests/system/test_backend.py."""

import pytest

from labeling.studio.client import Studio
from labeling.studio.ml_backend import connect_backend

URL = "http://127.0.0.1:3000/label-studio"


class Untouched:
    """A client that nobody may use."""

    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"Label Studio was asked for {name}")


@pytest.fixture
def studio() -> Studio:
    return Studio(Untouched(), "http://127.0.0.1:8080")  # type: ignore[arg-type]


def test_before_the_first_model_nothing_is_connected(studio: Studio) -> None:
    assert connect_backend(studio, URL, "open-sesame", model=None) is None


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:3000/label-studio", "ftp://host/label-studio", "http://host", "http:///x",
     "http://user:word@host/label-studio", "http://host/two words"],
)  # fmt: skip
def test_what_is_no_address_of_the_service_is_refused(studio: Studio, url: str) -> None:
    with pytest.raises(ValueError, match=r"HONE_BACKEND_URL is .* is needed"):
        connect_backend(studio, url, "open-sesame", model="m1")


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "pässword"])
def test_a_password_that_does_not_pass_over_http_is_refused_and_not_shown(
    studio: Studio, secret: str
) -> None:
    with pytest.raises(ValueError, match="HONE_BACKEND_SECRET is empty or has blanks") as error:
        connect_backend(studio, URL, secret, model="m1")
    assert not secret or secret not in str(error.value)
