"""The Prefect server's API over plain HTTP: `hone status` asks it without importing Prefect."""

import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from core.locks import has_ended
from settings import Settings

PROCESS = "hone-process"  # a run's label: the state in which it was given, and its process
TAG = "hone"  # of every deployment in prefect.yaml, and of every run of one


class PrefectUnreachable(ConnectionError):
    """The server gave no usable answer in time."""


@dataclass(frozen=True)
class PrefectRun:
    """A flow run as the server knows it."""

    run_id: str
    name: str
    deployment_id: str | None  # None: started in a terminal
    parameters: Mapping[str, Any]
    maker: str | None  # Prefect's type of who asked for it; None: a person
    due: str
    state: str  # its type
    state_id: str
    since: str
    process: str | None  # that runs it, if it is on record for this state

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "PrefectRun":
        """The run in an answer of the server."""
        given_in, _, process = str((row.get("labels") or {}).get(PROCESS, "")).partition(" ")
        return cls(
            run_id=row["id"],
            name=row["name"],
            deployment_id=row["deployment_id"],
            parameters=row["parameters"],
            maker=(row["created_by"] or {}).get("type"),
            due=row["expected_start_time"] or row["created"],
            state=row["state_type"],
            state_id=row["state_id"],
            since=row["state"]["timestamp"],
            process=process if process and given_in == row["state_id"] else None,
        )

    @property
    def has_lost_its_process(self) -> bool:
        """Whether the process that runs it was on this machine and has ended."""
        return self.process is not None and has_ended(self.process)


@dataclass(frozen=True)
class Deployment:
    """A deployment, and how many of its places are taken."""

    deployment_id: str
    name: str
    pool: str | None
    taken: int | None  # None: it has no limit, so that nothing tells which run is alive


class PrefectApi:
    """The server that `client` reaches, until `deadline` on the monotonic clock."""

    def __init__(self, client: httpx.Client, deadline: float) -> None:
        self._client = client
        self._deadline = deadline

    def call(self, path: str, body: Any = None, *, method: str = "POST") -> Any:
        """The JSON that the server answers; `PrefectUnreachable` when it does not in time."""
        left = max(self._deadline - time.monotonic(), 0.01)
        content = None if method == "GET" else body or {}
        request = self._client.build_request(method, path, json=content, timeout=left)
        try:
            return self._client.send(request).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise PrefectUnreachable(
                f"Prefect at {self._client.base_url} did not answer {path} "
                f"({error or type(error).__name__}); start it with `prefect server start`, or "
                "correct PREFECT_API_URL"
            ) from error

    def runs(self, flow: str | None = None, **conditions: Any) -> list[PrefectRun]:
        """The runs of our flows, or of one, that meet Prefect's filters, at most 200."""
        body: dict[str, Any] = {"flow_runs": {"tags": {"all_": [TAG]}, **conditions}}
        if flow is not None:
            body["flows"] = {"name": {"any_": [flow]}}
        return [PrefectRun.of(row) for row in self.call("flow_runs/filter", body)]

    def run(self, run_id: str) -> PrefectRun:
        """The run as it is now."""
        return PrefectRun.of(self.call(f"flow_runs/{run_id}", method="GET"))

    def deployments(self) -> list[Deployment]:
        """Our deployments."""
        body = {"deployments": {"tags": {"all_": [TAG]}}}
        return [_deployment(row) for row in self.call("deployments/filter", body)]

    def has_worker(self, pool: str) -> bool:
        """Whether a worker polls the pool."""
        path = f"work_pools/{pool}/workers/filter"
        return any(row["status"] == "ONLINE" for row in self.call(path))

    def count_states(self, run_id: str, name: str) -> int:
        """How often the run was in a state of this name."""
        states = self.call(f"flow_run_states/?flow_run_id={run_id}", method="GET")
        return sum(state["name"] == name for state in states)

    def set_state(self, run_id: str, state: Mapping[str, Any]) -> bool:
        """Propose a state; return whether the server accepted it."""
        answer = self.call(f"flow_runs/{run_id}/set_state", {"state": state})
        return bool(answer["status"] == "ACCEPT")


@contextmanager
def connect(settings: Settings, seconds: float = 60.0) -> Iterator[PrefectApi]:
    """The server at `PREFECT_API_URL`; `seconds` bounds all calls together."""
    if not settings.prefect_api_url:
        raise ValueError(
            "PREFECT_API_URL is not set: set it to the address of the Prefect server, for "
            "example http://127.0.0.1:4200/api"
        )
    deadline = time.monotonic() + seconds
    address = settings.prefect_api_url.rstrip("/")
    with httpx.Client(base_url=address, headers=_authorization(settings)) as client:
        yield PrefectApi(client, deadline)


def _deployment(row: Mapping[str, Any]) -> Deployment:
    places = row["global_concurrency_limit"]
    taken = None if places is None else int(places["active_slots"])
    return Deployment(row["id"], row["name"], row["work_pool_name"], taken)


def _authorization(settings: Settings) -> dict[str, str]:
    if settings.prefect_api_key:
        return {"Authorization": f"Bearer {settings.prefect_api_key.get_secret_value()}"}
    if settings.prefect_api_auth_string:
        login = settings.prefect_api_auth_string.get_secret_value()
        return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return {}
