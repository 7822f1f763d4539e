"""The webhook with everything real: somebody answers, Label Studio calls, Prefect has the event."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from core.workspace import Workspace
from labeling.studio import client as exchange
from labeling.studio import webhook
from tasks.demo import servers
from tasks.demo.servers import LabelStudioServer, Server
from tests.labeling.studio.outgoing import outgoing
from tests.system.deployments import call_api, emit_event, wait_for
from tests.system.world import environment, make_world

pytestmark = pytest.mark.system

SECRET = "only-label-studio-knows"
RECEIVER = "from tasks.collect.webhook import serve_webhook; serve_webhook({port})"


@pytest.fixture(scope="module")
def workspace(document_root: Path) -> Workspace:
    return make_world(document_root / "webhook", images=12)


@contextmanager
def receiving(
    workspace: Workspace, studio: LabelStudioServer, prefect: Server, **more: str
) -> Iterator[str]:
    """The receiver's process; yields the address that Label Studio calls."""
    port = servers.free_port()
    server = Server(f"http://127.0.0.1:{port}", workspace.root.parent / f"receiver-{port}.log")
    told = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.api_key,
        "PREFECT_API_URL": prefect.url,
        "HONE_WEBHOOK_SECRET": SECRET,
        **more,
    }
    with servers.running(
        [sys.executable, "-c", RECEIVER.format(port=port)],
        server=server,
        environment=environment(workspace, **told),
        ready=lambda: "listens" in server.log.read_text(errors="replace"),
    ):
        yield f"{server.url}{webhook.PATH}"


def events(prefect: Server, name: str = "hone.answers") -> list[Any]:
    """The newest events of this name on the Prefect server."""
    newest = {"filter": {"event": {"name": [name]}}, "limit": 50}
    return list(call_api(prefect.url, "events/filter", newest)["events"])


def settled_events(prefect: Server) -> list[Any]:
    """All of ours, once what was raised before now is surely among them: it is kept in order."""
    name = f"hone.test.{uuid.uuid4().hex}"
    emit_event(prefect.url, name, "hone.test")
    wait_for(lambda: events(prefect, name))
    return events(prefect)


def answer(studio: exchange.Studio, task: int, name: str) -> None:
    """As somebody's browser posts it."""
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    studio.client.annotations.create(
        id=task, result=[{**chosen, "value": {"choices": [name]}}], lead_time=1.0
    )


def batch(count: int) -> pd.DataFrame:
    rows = [{"sample_id": f"{n:064x}", "file": "images/none.png"} for n in range(count)]
    return outgoing(rows, pre_annotation=None, confidence=None, pre_annotation_model=None)


def test_an_answer_raises_an_event_and_one_that_no_call_told_of_is_found_by_the_poll(
    workspace, label_studio, prefect_server
):
    before = len(settled_events(prefect_server))
    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        studio.project(workspace)
        tasks = list(studio.assign(batch(3)).values())
        with receiving(workspace, label_studio, prefect_server) as address:
            wait_for(lambda: len(events(prefect_server)) == before + 1)  # of its start
            answer(studio, tasks[0], "3")
            wait_for(lambda: len(events(prefect_server)) == before + 2)
            [hook] = studio.client.webhooks.list(project=studio.project_id)
            assert (hook.url, sorted(hook.actions)) == (address, sorted(webhook.ACTIONS))
            for secret in ("wrong", ""):
                refused = httpx.post(address, headers={webhook.HEADER: secret}, json={})
                assert (refused.status_code, refused.content) == (403, b"")
        assert len(settled_events(prefect_server)) == before + 2, "a wrong secret wakes nobody"
        watermark = studio.answers_since(None).watermark

        answer(studio, tasks[1], "4")  # the receiver is away: nobody is told, nothing is lost
        found = studio.answers_since(watermark).answers
        assert found.set_index("sample_id")["value"].to_dict() == {
            f"{0:064x}": "3",
            f"{1:064x}": "4",
        }
        assert len(settled_events(prefect_server)) == before + 2

        with receiving(workspace, label_studio, prefect_server) as address:
            wait_for(lambda: len(events(prefect_server)) == before + 3)  # for what it missed
            [hook] = studio.client.webhooks.list(project=studio.project_id)
            assert hook.url == address, "the hook moved with the receiver"
    newest = events(prefect_server)[0]
    assert newest["resource"]["prefect.resource.id"] == "hone.workspace"


def test_a_project_has_one_hook_of_ours_that_is_told_of_answers_only(workspace, label_studio):
    url = "http://127.0.0.1:9/label-studio/answers"
    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        studio.project(workspace)
        hooks = studio.client.webhooks
        for known in hooks.list(project=studio.project_id):
            hooks.delete(known.id)
        theirs = hooks.create(project=studio.project_id, url="http://127.0.0.1:9/theirs")
        first = webhook.register(studio, url, SECRET)
        hooks.create(project=studio.project_id, url=url)  # as another process at the same time
        hooks.update(first, actions=[], is_active=False)
        assert webhook.register(studio, url, "another-secret") == first
        found = {hook.id: hook for hook in hooks.list(project=studio.project_id)}
        assert set(found) == {first, theirs.id}
        ours = found[first]
        assert sorted(ours.actions) == sorted(webhook.ACTIONS)
        assert ours.headers == {webhook.HEADER: "another-secret"}
        assert (ours.is_active, ours.send_payload, ours.send_for_all_actions) == (
            True,
            False,
            False,
        )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://10.0.0.1/x", "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS"),
        ("http://no-such-host.invalid/x", "correct HONE_WEBHOOK_URL"),
        ("127.0.0.1:3001", "an address like http://127.0.0.1:3001/label-studio/answers"),
    ],
)
def test_an_address_that_label_studio_does_not_call_is_one_sentence(
    workspace, label_studio, url, words
):
    with (
        exchange.connect(label_studio.url, label_studio.api_key) as studio,
        pytest.raises(ValueError, match=words) as error,
    ):
        studio.project(workspace)
        webhook.register(studio, url, SECRET)
    assert url in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ({"PREFECT_API_URL": ""}, "PREFECT_API_URL is not set"),
        ({"HONE_WEBHOOK_SECRET": ""}, "HONE_WEBHOOK_SECRET is not set"),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "takes no events"),
    ],
)
def test_what_is_missing_for_a_receiver_is_said_before_anything_is_registered(
    workspace, label_studio, prefect_server, without, words
):
    with (
        pytest.raises(RuntimeError, match=words),
        receiving(workspace, label_studio, prefect_server, **without),
    ):
        pass
