"""A real Prometheus scrapes the service and `hone metrics`: each query of the examples is run.

The service has two workers and loses one. A real Alertmanager delivers what the rules raise.
`examples/monitoring` is used as it stands, but for the ports and the seconds between scrapes and
between messages.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.database import connect, writing
from core.workspace import Workspace
from models.judging.verdict import Outcome, Verdict
from models.registry.halts import HaltPolicy
from models.registry.releases import champion
from models.registry.versions import record_verdict
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.incidents import open_incident
from models.watching.signals import Action
from tasks.demo import servers
from tasks.operate import watch_records
from tests.examples.test_monitoring import DASHBOARD, MONITORING
from tests.models.saved_models import png
from tests.receivers import MailServer, WebServer, mail_server, web_server
from tests.system.deployments import wait_for
from tests.system.test_service import REPOSITORY, TWO_WORKERS
from tests.tasks.operate.sound_workspace import SIGNAL, make_sound_workspace

pytestmark = pytest.mark.system
WITHOUT_DATA = {"Runs"}  # no Prefect server is configured
UNKNOWN_NAMES = {"hone_stuck_runs", "hone_late_runs", "hone_prefect_up"}
PANELS = [
    panel
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    if panel["type"] != "row"
]
REQUESTS = 'sum(hone_requests_total{endpoint="predict"})'


@dataclass(frozen=True)
class Watched:
    """A service, and the Prometheus that scrapes it and the loop's numbers."""

    service: str
    prometheus: str
    workspace: Workspace
    pager: WebServer
    mail: MailServer

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression; one that Prometheus refuses is an error."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def value(self, expression: str) -> float:
        """The one number of an expression; 0 when there is none yet."""
        samples = self.query(expression)
        return float(samples[0]["value"][1]) if samples else 0.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Everything runs, and a few requests were answered and scraped twice."""
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus; `apt-get install prometheus` installs it")
    workspace = make_sound_workspace(tmp_path_factory.mktemp("monitoring") / "work")
    measure(workspace)
    environment = {"HONE_WORKSPACE": str(workspace.root), **TWO_WORKERS}
    folder = tmp_path_factory.mktemp("servers")
    with (
        web_server() as pager,
        mail_server() as mail,
        servers.bentoml(REPOSITORY, folder, environment) as service,
        loop_metrics(folder, workspace) as loop,
        alertmanager(folder, pager.port, mail.port) as alerts,
        prometheus(folder, service.url, loop, alerts) as url,
    ):
        here = Watched(service.url, url, workspace, pager, mail)
        for number in range(6):
            send(here, png(number), b"no image")
        wait_for(lambda: here.value(REQUESTS) == 6, 60, every=0.1)
        send(here, png(7))
        wait_for(lambda: here.value(REQUESTS) == 7, 60, every=0.1)  # two scrapes: there is a rate
        wait_for(lambda: here.value("sum(up)") == 2, 60, every=0.1)
        yield here


def measure(workspace: Workspace) -> None:
    """A verdict on the champion with its accuracy on the audit, and a check that estimates it."""
    engine = connect(workspace.database)
    version = champion(engine)
    assert version is not None
    measured = {"value": 0.9, "low": 0.8, "high": 0.95, "rows": 100}
    record_verdict(
        engine, challenger=version, champion=None, snapshot="snapshot-0001",
        rows_fingerprint="measured",
        verdict=Verdict(Outcome.PROMOTE, ["first"], {"reported": {"pool": measured}}),
    )  # fmt: skip
    estimate = {f"estimated_accuracy_{bound}": 0.85 for bound in ("low", "value", "high")}
    made = Evaluation(
        version, 3, 2, Action.NONE, "none", "no drift", estimate=estimate, signals=[SIGNAL]
    )
    with writing(engine) as connection:
        decision = record_evaluation(connection, made)
        open_incident(connection, decision, model=version, kind="covariate shift", step="label")
    engine.dispose()


@contextmanager
def listening(words: list[str], log: Path, port: int, path: str, **more: str) -> Iterator[str]:
    """The address of a command that answers at `path` of the port once it is ready."""
    url = f"http://127.0.0.1:{port}"
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}
    with servers.running(
        words,
        server=servers.Server(url, log),
        environment=variables,
        ready=lambda: answers(url + path),
    ):
        yield url


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def loop_metrics(folder: Path, workspace: Workspace) -> AbstractContextManager[str]:
    """`hone metrics` on a port of its own."""
    port = servers.free_port()
    words = [sys.executable, "-m", "flows", "metrics", "--port", str(port)]
    root = str(workspace.root)
    return listening(words, folder / "metrics.log", port, "/metrics", HONE_WORKSPACE=root)


def configured(folder: Path, name: str, *changes: tuple[str, str]) -> None:
    """A configuration of the examples, in this folder and with these changes."""
    config = (MONITORING / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in config
        config = config.replace(old, new)
    (folder / name).write_text(config, encoding="utf-8")


@contextmanager
def alertmanager(folder: Path, pager: int, mail: int) -> Iterator[str]:
    """The address of an Alertmanager with the configuration of the examples, if one is there."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        yield "http://127.0.0.1:9093"
        return
    configured(
        folder, "alertmanager.yml", ("127.0.0.1:8086", f"127.0.0.1:{pager}"),
        ("127.0.0.1:25", f"127.0.0.1:{mail}"), ("group_wait: 30s", "group_wait: 0s"),
        ("group_interval: 5m", "group_interval: 1s"),
    )  # fmt: skip
    port = servers.free_port()
    words = [program, f"--config.file={folder / 'alertmanager.yml'}", "--cluster.listen-address="]
    words += [f"--storage.path={folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{port}"]
    with listening(words, folder / "alertmanager.log", port, "/-/ready") as url:
        yield url


def prometheus(folder: Path, service: str, loop: str, alerts: str) -> AbstractContextManager[str]:
    """A Prometheus with the configuration of the examples."""
    configured(
        folder, "prometheus.yml", ("127.0.0.1:3000", service.removeprefix("http://")),
        ("127.0.0.1:9178", loop.removeprefix("http://")),
        ("127.0.0.1:9093", alerts.removeprefix("http://")), ("interval: 15s", "interval: 500ms"),
        ("[rules.yml]", f"[{MONITORING / 'rules.yml'}]"),
    )  # fmt: skip
    port = servers.free_port()
    words = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    words += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    return listening(words, folder / "prometheus.log", port, "/-/ready")


def send(watched: Watched, *images: bytes) -> None:
    files = [("images", (f"{number}.png", image)) for number, image in enumerate(images)]
    assert httpx.post(f"{watched.service}/predict", files=files, timeout=60).status_code == 200


def plain(expression: str) -> str:
    """The expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_query_of_a_panel_gives_data(watched: Watched, panel: dict[str, Any]) -> None:
    samples = [watched.query(plain(target["expr"])) for target in panel["targets"]]
    if panel["title"] not in WITHOUT_DATA:
        assert all(samples), panel["title"]


def test_each_rule_is_evaluated_and_each_name_in_it_is_known(watched: Watched) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        groups = httpx.get(f"{watched.prometheus}/api/v1/rules").json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_for(evaluated, 60, every=0.1)
    assert rules
    assert {rule["health"] for rule in rules} == {"ok"}
    known = {sample["metric"]["__name__"] for sample in watched.query('{__name__!=""}')}
    named = {name for rule in rules for name in re.findall(r"hone_\w+", rule["query"])}
    assert named - known <= UNKNOWN_NAMES


def test_counters_do_not_fall_when_a_worker_is_killed(watched: Watched) -> None:
    wait_for(lambda: watched.value("hone_workers") == 2, 60, every=0.1)
    before = watched.value(REQUESTS)
    killed = psutil.Process(httpx.get(f"{watched.service}/status", timeout=60).json()["worker"])
    killed.kill()
    killed.wait(60)
    for number in range(5):
        send(watched, png(20 + number))
    wait_for(lambda: watched.value("hone_workers") == 1, 60, every=0.1)
    wait_for(lambda: watched.value(REQUESTS) == before + 5, 60, every=0.1)
    counters = watched.query('count by (__name__) ({__name__=~"hone_.*_(total|count|bucket)"})')
    names = [one["metric"]["__name__"] for one in counters]
    assert "hone_images_total" in names
    for name in names:
        assert watched.query(f"resets({name}[10m]) > 0") == [], name


def pages(watched: Watched, alert: str, status: str) -> list[dict[str, Any]]:
    """What the pager got about an alert."""
    return [
        one
        for body in watched.pager.bodies
        for one in body["alerts"]
        if one["labels"]["alertname"] == alert and one["status"] == status
    ]


def test_a_halt_stops_the_service_and_is_delivered_by_alertmanager_as_its_end_is(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("prometheus-alertmanager") is None and shutil.which("alertmanager") is None:
        pytest.skip("no Alertmanager; `apt-get install prometheus-alertmanager` installs it")
    monkeypatch.setenv("HONE_WORKSPACE", str(watched.workspace.root))
    image = {"images": ("one.png", png(50))}

    def status() -> int:
        return httpx.post(f"{watched.service}/predict", files=image, timeout=60).status_code

    watch_records.halt(HaltPolicy.REFUSE, who="ann", why="wrong labels")
    wait_for(lambda: status() == 503, 10, every=0.1)
    wait_for(lambda: pages(watched, "HoneHalted", "firing"), 60, every=0.1)
    [page, *_] = pages(watched, "HoneHalted", "firing")
    assert page["labels"]["severity"] == "page"
    assert "`hone why`" in page["annotations"]["action"]
    watch_records.resume(who="ann", why="repaired")
    wait_for(lambda: status() == 200, 10, every=0.1)
    wait_for(lambda: pages(watched, "HoneHalted", "resolved"), 60, every=0.1)
    assert any("HoneHalted" in str(mail["Subject"]) for mail in watched.mail.mails)


def test_the_service_answers_while_prometheus_is_away(watched: Watched) -> None:
    mine = psutil.Process().children(recursive=True)
    [process] = [one for one in mine if one.name() == "prometheus"]
    process.kill()
    process.wait(60)
    send(watched, png(40))
