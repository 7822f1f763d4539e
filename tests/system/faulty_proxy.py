"""An HTTP proxy in front of a real server that spoils what it is told to spoil."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Fault(Enum):
    """What happens to one request."""

    NONE = "the server gets it, the client gets the reply"
    CUT = "the server gets it, the connection breaks instead of the reply"
    FAIL = "the server gets it, the client gets a 502"
    LOSE = "the server never gets it, the connection breaks"
    DELAY = "the server gets it, the reply comes when the client has given up"
    LATE = "the server gets it when the client has given up"


Chooser = Callable[[str, str], Fault]  # method and path -> what happens


@contextmanager
def faulty_proxy(target: str, choose: Chooser) -> Iterator[str]:
    """The address of a proxy in front of `target`; `choose` is asked for each request in turn.

    A `choose` that takes its time holds the request back, and no other. DELAY and LATE wait
    for the client's own time-out.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(urlsplit(target).netloc, choose))
    server.daemon_threads = False  # the block ends when every request has
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(target: str, choose: Chooser) -> type[BaseHTTPRequestHandler]:
    class Relay(BaseHTTPRequestHandler):
        def relay(self) -> None:
            self.close_connection = True
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = choose(self.command, self.path)
            if fault is Fault.LOSE:
                return
            if fault is Fault.LATE:
                self.wait_until_given_up()
            status, headers, content = self.forward(body)
            if fault is Fault.DELAY:
                self.wait_until_given_up()
            if fault is Fault.FAIL:
                status, headers, content = 502, {}, b"bad gateway"
            if fault not in (Fault.CUT, Fault.DELAY, Fault.LATE):
                self.reply(status, headers, content)

        def wait_until_given_up(self) -> None:
            """Return when the client has closed its end; it has nothing more to say before."""
            self.connection.settimeout(60)
            self.rfile.read(1)

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            with suppress(ConnectionError):  # the client may be gone by now
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            line = http.client.HTTPConnection(target, timeout=60)
            headers = {**self.headers, "Connection": "close", "Host": target}
            line.request(self.command, self.path, body, headers)
            reply = line.getresponse()
            content = reply.read()
            line.close()
            ours = {"transfer-encoding", "content-length", "connection"}
            kept = {name: value for name, value in reply.getheaders() if name.lower() not in ours}
            return reply.status, kept, content

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = relay

        def log_message(self, *_: object) -> None:
            pass

    return Relay
