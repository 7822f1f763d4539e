"""Which addresses may be called: those below one that the operator listed, and no others."""

import pytest

from core.errors import HoneError
from models.serving.callbacks import fields_of_callback, rule_for, rules_of

SECRET = "0123456789abcdef"
RULES = rules_of("https://hooks.example.com/hone private+http://127.0.0.1:8000/", SECRET)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/hone", "https://hooks.example.com/hone/7?key=1",
        "https://HOOKS.example.com:443/hone/", "http://127.0.0.1:8000/x",
        "https://hooks.example.com/hone/a%20b/.c/", "https://hooks.example.com/hone/x?a=//;%25",
    ],
)  # fmt: skip
def test_addresses_below_a_listed_one_are_allowed(url: str) -> None:
    assert rule_for(url, RULES) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/", "https://hooks.example.com/honey", "https://evil.example/hone",
        "https://hooks.example.com.evil.example/hone", "https://hooks.example.com@evil.example/hone",
        "https://user:word@hooks.example.com/hone", "http://hooks.example.com/hone",
        "https://hooks.example.com:8443/hone", "https://hooks.example.com/hone/../admin",
        "https://hooks.example.com/hone/%2e%2e/admin", "https://hooks.example.com/hone/%2E./admin",
        "https://hooks.example.com/hone#x", "https://hooks.example.com\\@evil.example/hone",
        "https://[::1/hone", "https://hooks.example.com:x/hone", "file:///etc/passwd", "", "x",
        "https://hooks.example.com/hone/ x", "https://hooks.example.com/hone/\r\nX: y",
        "https://hooks.example.com/hone/..;/admin", "https://hooks.example.com/hone/x;y",
        "https://hooks.example.com/hone/%252e%252e/x", "https://hooks.example.com/hone//..%5cx",
        "https://hooks.example.com/hone/..%5Cx", "https://hooks.example.com/hone//x",
        "https://hooks.example.com/hone/%3B/x", "https://hooks.example.com/hone/%u002e/x",
        "https://hooks.example.com/hone/%", "https://hooks.example.com/hone/./x",
        "http://127.0.0.1:8001/x", f"https://hooks.example.com/hone/{'x' * 3000}",
    ],
)  # fmt: skip
def test_others_are_not(url: str) -> None:
    assert rule_for(url, RULES) is None


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ("http://hooks.example.com/", "HONE_CALLBACKS has 'http://hooks.example.com/'; write"),
        ("hooks.example.com", "HONE_CALLBACKS has 'hooks.example.com'; write"),
        ("https://u:p@hooks.example.com/", "HONE_CALLBACKS has"),
        ("https://hooks.example.com/?a=1", "HONE_CALLBACKS has"),
    ],
)
def test_an_unsound_list_is_refused(setting: str, cause: str) -> None:
    with pytest.raises(HoneError) as refused:
        rules_of(setting, SECRET)
    assert str(refused.value).startswith(cause)


@pytest.mark.parametrize("secret", [None, "", "short"])
def test_a_list_needs_a_secret(secret: str | None) -> None:
    with pytest.raises(HoneError, match="HONE_CALLBACK_SECRET is not, or is shorter"):
        rules_of("https://hooks.example.com/", secret)
    assert rules_of(None, secret) == ()


@pytest.mark.parametrize("text", [b"{}", b"[]", b"\xff", b"{" * 9999, b'{"callback_id": 1}', b""])
def test_a_record_of_another_program_is_none(text: bytes) -> None:
    assert fields_of_callback(text) is None
