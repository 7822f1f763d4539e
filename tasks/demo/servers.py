"""Real servers as child processes, for `hone demo` and the system tests.

Each function is a context manager that yields once its server answers and ends it with all its
children afterwards. The server runs on `supervise.py`, so it also ends when we are killed.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.files import write_atomically

STARTING = 300.0  # seconds: the first start of Label Studio migrates for a minute on two cores
ENDING = 30.0  # seconds between the polite signal and the other one
# Label Studio's own list of networks that it never calls, but for the loopback: its webhooks, ML
# backends and S3 storages are servers of this machine here.
NOT_CALLED = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,"
    "192.88.99.0/24,192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,"
    "233.252.0.0/24,240.0.0.0/4,255.255.255.255/32,::/128,::1/128,::ffff:0:0/96,::ffff:0:0:0/96,"
    "64:ff9b::/96,64:ff9b:1::/48,100::/64,2001:0000::/32,2001:20::/28,2001:db8::/32,2002::/16,"
    "fc00::/7,fe80::/10,ff00::/8"
)
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # past any proxy
QUIET = {  # nothing we start reports home
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
# A run holds the place of its deployment by a lease. A server that has leases in memory forgets
# them when it restarts: it then cancels the run in progress, which cannot renew its lease, and the
# place of a run that died meanwhile is never free again.
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"


@dataclass(frozen=True)
class Server:
    """A running server: where it answers and where it writes its log."""

    url: str
    log: Path


@dataclass(frozen=True)
class LabelStudioServer(Server):
    """A running Label Studio, with a (legacy) token for programs and the login for people."""

    api_key: str
    username: str
    password: str


@contextmanager
def label_studio(command: Path, folder: Path, document_root: Path) -> Iterator[LabelStudioServer]:
    """A Label Studio that keeps its state in `folder` and may show files below `document_root`.

    The first start in a folder migrates a new database (about half a minute) and makes one user;
    a later start, or a start in a copy of a stopped folder, takes seconds and knows the same user.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document_root.mkdir(parents=True, exist_ok=True)
    login = _login(folder / "login.json")
    port = free_port()
    server = LabelStudioServer(_loopback(port), folder / "label-studio.log", **login)
    words = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    environment = _studio_environment(command, folder, document_root, server)
    # It takes the next port when ours was taken meanwhile, and says so only in its log.
    mine = f"http://127.0.0.1:{port}/"
    with running(
        [command, *words],
        server=server,
        environment=environment,
        ready=lambda: mine in server.log.read_text(errors="replace") and _up(f"{mine}health"),
    ):
        yield server


@contextmanager
def bentoml(
    target: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`bentoml serve` of a bento's tag or of a folder with a bentofile; its log is in `folder`."""
    port = free_port()
    server = Server(_loopback(port), folder / "bentoml.log")
    words = ["serve", str(target), "--host", "127.0.0.1", "--port", str(port)]
    with running(
        [sys.executable, "-m", "bentoml", *words],
        server=server,
        environment=_ours(environment),
        ready=lambda: _up(f"{server.url}/readyz"),
    ):
        yield server


@contextmanager
def prefect_server(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A Prefect server with its database in `folder`; its `url` is what PREFECT_API_URL wants."""
    port = free_port()
    server = Server(f"{_loopback(port)}/api", folder / "prefect-server.log")
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = _ours(environment) | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
    }
    environment.pop("PREFECT_API_URL", None)
    with running(
        [sys.executable, "-m", "prefect", *words],
        server=server,
        environment=environment,
        ready=lambda: _up(f"{server.url}/health"),
    ):
        yield server


@contextmanager
def prefect_worker(
    api_url: str, *, pool: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A worker that runs the deployments of `pool` as processes and asks for work every 2 s."""
    server = Server(api_url, folder / "prefect-worker.log")
    words = ["worker", "start", "--pool", pool, "--type", "process"]
    mine = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PYTHONUNBUFFERED": "1",  # or its log comes late
    }
    with running(
        [sys.executable, "-m", "prefect", *words],
        server=server,
        environment=_ours(environment) | mine,
        # Its health check already answers before it has registered anywhere.
        ready=lambda: "started!" in server.log.read_text(errors="replace"),
    ):
        yield server


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """A throw-away PostgreSQL in the new `folder`; its `url` is what HONE_DATABASE_URL wants.

    Nothing is synced to disk. PostgreSQL refuses to run as root, so root runs it as `postgres`,
    who must be able to reach the folder.
    """
    programs = postgres_programs()
    if programs is None:
        raise ValueError("no PostgreSQL under /usr/lib/postgresql; `apt-get install postgresql`")
    folder.mkdir(parents=True, exist_ok=True)
    as_whom: list[str | Path] = []
    if os.geteuid() == 0:
        as_whom = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres", "postgres")
    port, state = free_port(), str(folder / "state")
    make: list[str | Path] = [
        programs / "initdb",
        "-D",
        state,
        "-A",
        "trust",
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "-N",
    ]
    subprocess.run([*as_whom, *make], check=True, capture_output=True, cwd="/")
    server = Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", folder / "postgres.log")
    words = ["-D", state, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
    with running(
        [*as_whom, programs / "postgres", *words],
        server=server,
        environment=dict(os.environ),
        ready=lambda: "ready to accept connections" in server.log.read_text(errors="replace"),
        politely=signal.SIGINT,  # SIGTERM would wait for clients to leave
    ):
        yield server


def postgres_programs() -> Path | None:
    """Where the newest installed PostgreSQL keeps `initdb` and `postgres`, if it is there."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    server: Server,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
    politely: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """`command` as a child that is `ready`, its output in the log; it ends with the block."""
    server.log.parent.mkdir(parents=True, exist_ok=True)
    supervisor = [sys.executable, "-I", str(Path(__file__).with_name("supervise.py"))]
    with server.log.open("wb") as output:
        process = subprocess.Popen(
            [*supervisor, str(int(politely)), str(ENDING), *map(str, command)],
            env=dict(environment),
            cwd="/",
            stdin=subprocess.PIPE,  # the server ends when nobody holds the other end any more
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we end the server in order
        )
    try:
        _wait_until(ready, process=process, log=server.log)
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until(ready: Callable[[], bool], *, process: subprocess.Popen[bytes], log: Path) -> None:
    """Come back when `ready`; a server that ended or is too slow is an error with its log's end."""
    deadline = time.monotonic() + STARTING
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = f"ended with {process.returncode}" if ended else f"took over {STARTING:.0f} s"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise RuntimeError(f"the server {what} before it was ready; the end of {log}:\n{tail}")
        time.sleep(0.1)


def _up(url: str) -> bool:
    try:
        with LOOPBACK.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _loopback(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _ours(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **QUIET, **(more or {})}


def _login(path: Path) -> dict[str, str]:
    """The one user of a server's folder, made up at its first start and kept beside its state."""
    if not path.exists():
        made = {
            "username": "admin@example.com",
            "password": secrets.token_urlsafe(9),
            "api_key": secrets.token_hex(20),
        }
        write_atomically(path, json.dumps(made).encode())
        path.chmod(0o600)
    login: dict[str, str] = json.loads(path.read_text())
    return login


def _studio_environment(
    command: Path, folder: Path, document_root: Path, server: LabelStudioServer
) -> dict[str, str]:
    """All that Label Studio sees: it also reads HOST, PORT, DEBUG and the like without a prefix."""
    return {
        "PATH": f"{command.parent}:/usr/bin:/bin",
        "HOME": str(folder / "home"),  # it writes ~/.config
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # or its log comes late
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "state"),
        "LABEL_STUDIO_HOST": server.url,
        "LABEL_STUDIO_USERNAME": server.username,
        "LABEL_STUDIO_PASSWORD": server.password,
        "LABEL_STUDIO_USER_TOKEN": server.api_key,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # counts only when the database is made
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
        "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS": "false",
        "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS": NOT_CALLED,
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "DJANGO_DB": "sqlite",
        # Without it a guess of an unknown class is stored and shown, and nobody is told.
        "fflag_feat_utc_210_prediction_validation_15082025": "true",
    }
