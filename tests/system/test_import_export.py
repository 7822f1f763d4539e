"""A snapshot goes into a real Label Studio as a file, and its own exports come back to us."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.formats.exports import export_snapshot
from labeling.kinds import KINDS
from tasks.demo.servers import LabelStudioServer
from tests.labeling.formats.workspaces import House, make_house, put_pictures
from tests.system.annotators import sign_up

pytestmark = pytest.mark.system

CLASSES = ["cat", 'dog & "co"', "two\nlines", "\u732b"]
KNOWN, UNKNOWN = "carrier@example.org", "stranger@example.org"


def snapshot(folder: Path, who: str) -> House:
    """A workspace with a snapshot, one label of each class given by `who` and one by nobody."""
    house = make_house(folder / "workspace", *CLASSES)
    tree: list[dict[str, Any]] = [
        {"id": n, "data": {"image": f"{n}.png"}, "annotations": [_said(name, who)]}
        for n, name in enumerate(CLASSES)
    ]
    tree += [{"id": 9, "data": {"image": "9.png"}, "annotations": [_said("cat", None)]}]
    put_pictures(folder, *(task["data"]["image"] for task in tree))
    (folder / "export.json").write_text(json.dumps(tree))
    assert house.take(folder / "export.json")["refused"] == {}
    house.cut()
    return house


def _said(name: str, who: str | None) -> dict[str, Any]:
    part = {"type": "choices", "value": {"choices": [name]}}
    return {"result": [part], "completed_by": who and {"email": who}}


@pytest.fixture
def session(label_studio: LabelStudioServer) -> Iterator[httpx.Client]:
    token = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=token, timeout=60) as opened:
        yield opened


def send(session: httpx.Client, house: House, target: Path) -> tuple[int, httpx.Response]:
    """Export the newest snapshot and import the file into a new project."""
    export_snapshot(house.engine, house.workspace, format="label-studio", target=target)
    config = KINDS["classification"].screen(house.workspace.classes)
    made = session.post("/api/projects", json={"title": "carried", "label_config": config})
    project = made.json()["id"]
    tasks = json.loads((target / "snapshot-0001.json").read_text())
    return project, session.post(f"/api/projects/{project}/import", json=tasks)


def test_an_export_goes_into_label_studio_and_its_exports_come_back(
    label_studio: LabelStudioServer, session: httpx.Client, tmp_path: Path
) -> None:
    sign_up(label_studio, KNOWN)
    house = snapshot(tmp_path, KNOWN)
    project, sent = send(session, house, tmp_path / "out")
    assert sent.status_code == 201, sent.text
    assert (sent.json()["task_count"], sent.json()["annotation_count"]) == (5, 5)
    people = {user["id"]: user["email"] for user in session.get("/api/users").json()}
    for kind in ("JSON", "JSON_MIN"):
        got = session.get(f"/api/projects/{project}/export", params={"exportType": kind})
        (tmp_path / f"{kind}.json").write_bytes(got.content)
        back = make_house(tmp_path / kind, *CLASSES)
        done = back.take(tmp_path / f"{kind}.json", images=tmp_path / "out")
        assert (done["new"], done["refused"]) == (5, {})
        assert sorted(back.labels().values()) == sorted(house.labels().values())
        who = {int(name.rpartition(":user-")[2]) for name, *_ in back.answers()}
        assert {people[number] for number in who} == {KNOWN, label_studio.username}
        assert house.take(tmp_path / f"{kind}.json")["images"]["added"] == 0


def test_label_studio_refuses_people_it_does_not_know_with_all_the_rest(
    session: httpx.Client, tmp_path: Path
) -> None:
    """So there, start it with ALLOW_IMPORT_TASKS_WITH_UNKNOWN_EMAILS=true."""
    project, sent = send(session, snapshot(tmp_path, UNKNOWN), tmp_path / "out")
    assert sent.status_code == 400 and UNKNOWN in sent.text
    assert session.get(f"/api/projects/{project}").json()["task_number"] == 0
