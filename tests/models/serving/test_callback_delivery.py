"""One call of a receiver: signed, bounded, not redirected, of no private network unasked."""

import json
import ssl
import time
from pathlib import Path

import pytest
import trustme

from models.serving import callback_delivery
from models.serving.callback_delivery import deliver, delivery_id, is_public, signature
from models.serving.callback_store import DueCall
from models.serving.callbacks import rules_of
from tests.receivers import hanging_server, web_server

SECRET = "0123456789abcdef"


def due(url: str) -> DueCall:
    return DueCall("c", "0" * 32, url, 0, "dog", 0.9, "2026-01-01")


def test_a_label_is_sent_with_a_signature_that_its_receiver_can_check() -> None:
    with web_server() as server:
        rules = rules_of(f"private+http://127.0.0.1:{server.port}/hone", SECRET)
        call = due(f"http://127.0.0.1:{server.port}/hone/7?key=1")
        assert deliver(call, rules, SECRET) is None
    assert server.bodies == [
        {"prediction_id": "0" * 32, "label": "dog", "trust": 0.9, "settled_at": "2026-01-01"}
    ]
    [headers] = server.headers
    body = json.dumps(server.bodies[0]).encode()
    assert headers["X-Hone-Signature"] == signature(SECRET, headers["X-Hone-Timestamp"], body)
    assert headers["X-Hone-Signature"] != signature("another", headers["X-Hone-Timestamp"], body)
    assert headers["X-Hone-Delivery"] == delivery_id(call)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_refusal_or_a_redirect_is_named_and_followed_nowhere(status: int) -> None:
    with web_server() as server:
        server.statuses = [status]
        rules = rules_of(f"private+http://127.0.0.1:{server.port}/", SECRET)
        error = deliver(due(f"http://127.0.0.1:{server.port}/"), rules, SECRET)
    assert error == f"the receiver answered {status}"
    assert len(server.bodies) == 1


def test_a_certificate_is_checked_before_a_word_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, of_receiver = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(of_receiver)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with web_server(of_receiver) as server:
        rules = rules_of(
            f"private+https://localhost:{server.port}/ private+https://127.0.0.1:{server.port}/",
            SECRET,
        )
        known = f"https://localhost:{server.port}/"
        error = deliver(due(known), rules, SECRET)
        assert error is not None
        assert "certificate verify failed" in error  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        error = deliver(due(f"https://127.0.0.1:{server.port}/"), rules, SECRET)
        assert error is not None
        assert "IP address mismatch" in error  # it is of another host
        assert server.bodies == []
        assert deliver(due(known), rules, SECRET) is None
    assert [body["label"] for body in server.bodies] == ["dog"]


def test_a_receiver_that_hangs_costs_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_delivery, "SECONDS", 0.3)
    with hanging_server() as port:
        rules = rules_of(
            f"private+http://127.0.0.1:{port}/ private+https://127.0.0.1:{port}/", SECRET
        )
        for scheme in ("http", "https"):
            began = time.monotonic()
            assert deliver(due(f"{scheme}://127.0.0.1:{port}/"), rules, SECRET) is not None
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "169.254.169.254", "[::1]"])
def test_a_private_network_is_called_only_where_that_is_listed(host: str) -> None:
    rules = rules_of(f"https://{host}/", SECRET)
    error = deliver(due(f"https://{host}/"), rules, SECRET)
    assert error is not None and "of a private network; write private+" in error


@pytest.mark.parametrize(
    "address",
    [
        "::127.0.0.1", "::8.8.8.8", "fec0::1", "2002:a00:1::", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2001::1", "::ffff:10.0.0.1", "fe80::1%eth0", "ff02::1", "224.0.0.1", "0.0.0.0", "::",
    ],
)  # fmt: skip
def test_an_address_that_leads_to_a_private_one_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_an_address_that_is_listed_no_more_is_not_called() -> None:
    error = deliver(due("https://hooks.example.com/"), (), SECRET)
    assert error == "the address is no longer below one in HONE_CALLBACKS"
