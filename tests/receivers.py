"""Receivers of alerts on this machine: an SMTP server, an HTTP server, and one that only hangs."""

import email
import json
import socket
import socketserver
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast


@dataclass
class MailServer:
    """An SMTP server: its port, the mails that it took, and how it answers DATA."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 taken"


@dataclass
class WebServer:
    """An HTTP server: its port, the bodies that it got, and the statuses that it answers with."""

    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the next requests; 200 after them


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A running SMTP server."""
    server = MailServer()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "QUIT":
                    self.say("221 bye")
                    return
                if word == "DATA":
                    self.say("354 go on")
                    lines = [*iter(self.rfile.readline, b".\r\n")]
                    if server.answer.startswith("2"):
                        mail = email.message_from_bytes(b"".join(lines), policy=default)
                        server.mails.append(cast(EmailMessage, mail))
                    self.say(server.answer)
                else:
                    self.say("250 fine")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)) as server.port:
        yield server


@contextmanager
def web_server(secure: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """A running HTTP server that takes JSON; with `secure` it speaks TLS."""
    server = WebServer()

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.headers.append(dict(self.headers))
            server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.statuses.pop(0) if server.statuses else 200)
            self.send_header("Location", "/elsewhere")  # of a redirect
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    if secure is not None:
        listening.socket = secure.wrap_socket(listening.socket, server_side=True)
    with _serving(listening) as server.port:
        yield server


@contextmanager
def hanging_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_address[1]  # type: ignore[misc]
        server.shutdown()
        thread.join()
