"""A real Label Studio server and a real browser: batches go out once, answers come back whole."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from core.hone_toml import LabelClass
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.studio import client as exchange
from labeling.studio.project import PROJECT_FILE
from tasks.demo.servers import LabelStudioServer, free_port
from tests.labeling.studio.outgoing import outgoing
from tests.system.annotators import annotating, personal_access_token, sign_up
from tests.system.faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.system

CLASSES = (LabelClass("cat", "1"), LabelClass('dog & "co"', "2", hint="<big>"))
DOG = CLASSES[1].name


@pytest.fixture
def workspace(document_root: Path, request: pytest.FixtureRequest) -> Workspace:
    root = document_root / hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    root.mkdir()
    return Workspace(root, "Cats & dogs", "Tell them apart", CLASSES, image_size=32)


@pytest.fixture
def studio(label_studio: LabelStudioServer, workspace: Workspace) -> Iterator[exchange.Studio]:
    with exchange.connect(label_studio.url, label_studio.api_key) as connected:
        connected.project(workspace)
        yield connected


def sample(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def batch_of(numbers, *, round_id="round-0001", model: str | None = "m1", workspace=None):
    """A batch whose confidence falls with the number; a given workspace gets the images."""
    rows = [
        {
            "sample_id": sample(n),
            "file": f"images/{sample(n)}.png",
            "pre_annotation": model and "cat",
            "confidence": 0.9 - n / 1000 if model else None,
            "pre_annotation_model": model,
            "round_id": round_id,
        }
        for n in numbers
    ]
    if workspace is not None:
        for row in rows:
            row["file"] = f"{workspace.root.name}/staged/{row['file']}"
            Image.new("RGB", (32, 32), (200, 90, 30)).save(workspace.root.parent / row["file"])
    return outgoing(rows)


def annotate(studio, task: int, choices, **more):
    """What a person's browser, or anybody with a token, may post."""
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    result = [{**chosen, "value": {"choices": choices}}] if choices is not None else []
    return studio.client.annotations.create(id=task, **{"result": result, "lead_time": 1.5, **more})


def stored(studio) -> list[str]:
    """The sample of every task in the project, as the server has them."""
    tasks = studio.client.tasks.list(project=studio.project_id, page_size=5000)
    return [task.data["sample_id"] for task in tasks]


def test_a_project_shows_the_classes_with_their_keys_and_is_found_again(studio, workspace):
    found = studio.client.projects.get(studio.project_id)
    shown = found.parsed_label_config["label"]["labels_attrs"]
    assert {name: each["hotkey"] for name, each in shown.items()} == {"cat": "1", DOG: "2"}
    assert (found.title, found.sampling) == ("Cats & dogs", "Uncertainty sampling")
    assert studio.project(workspace) == found.id
    assert len(studio.client.import_storage.local.list(project=found.id)) == 1


def test_an_image_that_annotators_would_not_see_stops_before_anything_is_sent(studio, workspace):
    studio.see(batch_of([1], workspace=workspace)["file"].iloc[0])
    with pytest.raises(ValueError, match=r"does not find the image .* the same folder for Label"):
        studio.see("images/0.png")  # as from a run that takes the staged for the document root


def test_a_desk_outside_the_servers_folder_is_refused_with_what_to_set(label_studio, tmp_path):
    outside = Workspace(tmp_path, "Far away", "", CLASSES, image_size=32)
    with (
        exchange.connect(label_studio.url, label_studio.api_key) as studio,
        pytest.raises(ValueError, match=rf"may not show .*DOCUMENT_ROOT={tmp_path}/staged"),
    ):
        studio.project(outside)


def test_a_project_made_by_a_run_that_was_killed_is_not_made_again(studio, workspace):
    note = workspace.root / PROJECT_FILE
    note.write_text(json.dumps({**json.loads(note.read_text()), "project": None}))
    assert studio.project(workspace) == json.loads(note.read_text())["project"]
    ours = json.loads(note.read_text())["mark"]
    assert sum(ours in (p.description or "") for p in studio.client.projects.list()) == 1


def test_two_who_are_the_first_at_once_make_one_project(label_studio, workspace):
    def use(_: int) -> int:
        with exchange.connect(label_studio.url, label_studio.api_key) as studio:
            return studio.project(workspace)

    with ThreadPoolExecutor(3) as people:
        assert len(set(people.map(use, range(3)))) == 1


def test_a_deleted_project_stops_with_the_remedy(studio, workspace):
    studio.client.projects.delete(studio.project_id)
    with pytest.raises(
        ValueError, match=r"has no project \d+ any more.*remove .*label-studio.json"
    ):
        studio.project(workspace)


def test_a_strangers_project_under_our_id_is_never_written_to(studio, workspace):
    studio.client.projects.update(studio.project_id, description="mine now")
    with pytest.raises(ValueError, match="is not this workspace's"):
        studio.project(workspace)


def test_classes_are_added_and_a_class_in_use_stays(studio, workspace):
    task = studio.assign(batch_of([1]))[sample(1)]
    annotate(studio, task, [DOG])
    more = (*CLASSES, LabelClass("newt", "3"))
    studio.project(Workspace(workspace.root, "Zoo", "", more, image_size=32))
    labels = studio.client.projects.get(studio.project_id).parsed_label_config["label"]["labels"]
    assert labels == ["cat", DOG, "newt"]
    unused_gone = Workspace(workspace.root, "Zoo", "", (CLASSES[1], more[2]), image_size=32)
    studio.project(unused_gone)
    with pytest.raises(ValueError, match=r"is gone from hone.toml, but annotators chose it"):
        studio.project(Workspace(workspace.root, "Zoo", "", (CLASSES[0], more[2]), image_size=32))


def test_a_project_with_an_older_screen_gets_ours_and_keeps_its_answers(studio, workspace):
    task = studio.assign(batch_of([1]))[sample(1)]
    annotate(studio, task, [DOG])
    found = studio.client.projects.get(studio.project_id)
    older = found.label_config.replace("flex: 0 0 220px", "flex: 0 0 100px")
    assert older != found.label_config
    studio.client.projects.update(found.id, label_config=older)
    studio.project(workspace)
    assert studio.client.projects.get(found.id).label_config == found.label_config
    assert studio.answers_since(None).answers["value"].tolist() == [DOG]


def test_a_batch_sent_twice_is_there_once(studio):
    first = studio.assign(batch_of(range(30)))
    assert studio.assign(batch_of(range(40)))[sample(7)] == first[sample(7)]
    assert sorted(stored(studio)) == sorted(map(sample, range(40)))
    assert studio.present([sample(7), sample(99)]) == {sample(7): first[sample(7)]}


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.FAIL, Fault.LOSE])
def test_a_lost_reply_neither_doubles_nor_loses_a_sample(label_studio, workspace, fault):
    spoiled = []

    def first_of_two(method: str, path: str) -> Fault:
        if "/import" not in path:
            return Fault.NONE
        spoiled.append(path)
        return fault if len(spoiled) % 2 else Fault.NONE

    with (
        faulty_proxy(label_studio.url, first_of_two) as proxy,
        exchange.connect(proxy, label_studio.api_key) as studio,
    ):
        studio.project(workspace)
        sent = studio.assign(batch_of(range(700)))
        assert sorted(stored(studio)) == sorted(sent) == sorted(map(sample, range(700)))
    assert len(spoiled) > 1


def test_a_batch_that_arrived_twice_shrinks_to_one_task_a_sample(studio):
    batch = batch_of(range(5))
    first = studio.assign(batch)
    tasks = exchange.wire.tasks_of(batch, ["cat", DOG], KINDS["classification"])
    studio.client.projects.import_tasks(studio.project_id, request=tasks)  # a late commit
    annotate(studio, max(studio.present([sample(3)]).values()), ["cat"])
    again = studio.assign(batch)
    assert sorted(stored(studio)) == sorted(map(sample, range(5)))
    assert {key for key in first if first[key] != again[key]} == {
        sample(3)
    }  # the answered one stays


def test_a_guess_of_an_unknown_class_is_refused_before_anything_is_sent(studio):
    batch = batch_of(range(3))
    batch.loc[1, "pre_annotation"] = "zebra"
    with pytest.raises(ValueError, match=f"sample {sample(1)}: the pre-annotation 'zebra'"):
        studio.assign(batch)
    assert stored(studio) == []


def test_the_least_confident_guess_of_the_newest_model_comes_first(studio, label_studio):
    def order(tasks: int) -> list[str]:
        token = {"Authorization": f"Token {label_studio.api_key}"}
        served = []
        for _ in range(tasks):
            url = f"{label_studio.url}/api/projects/{studio.project_id}/next"
            task = httpx.get(url, headers=token).json()
            annotate(studio, task["id"], ["cat"])
            served.append(task["data"]["sample_id"])
        return served

    studio.assign(batch_of([3, 1, 4, 2]))
    assert order(2) == [sample(4), sample(3)]
    studio.assign(batch_of([12, 14, 11, 13], round_id="round-0002", model="m2"))
    assert order(3) == [sample(14), sample(13), sample(12)]


def test_a_person_labels_by_hotkey_and_skips(studio, workspace, label_studio, browser):
    sign_up(label_studio, "ann@example.com")
    tasks = studio.assign(batch_of([1, 2, 3, 4], workspace=workspace))
    shown = {task: sample_id for sample_id, task in tasks.items()}
    with annotating(browser, label_studio, studio.project_id, "ann@example.com") as ann:
        assert shown[ann.task()] == sample(4)  # the image rendered, and it is the least certain one
        assert ann.preselected() == ["cat"]
        ann.press("2")
        assert ann.preselected() == [DOG]
        ann.submit()
        assert shown[ann.task()] == sample(3)
        ann.submit()  # takes the guess as it is
        watermark = studio.answers_since(None).watermark
        assert shown[ann.task()] == sample(2)
        ann.skip()
        assert shown[ann.task()] == sample(1)

    found = studio.answers_since(None)
    answers = found.answers.set_index("sample_id")
    assert answers["kind"].to_dict() == {
        sample(4): "answer", sample(3): "answer", sample(2): "skip"
    }  # fmt: skip
    assert answers["value"].to_dict() == {sample(4): DOG, sample(3): "cat", sample(2): None}
    assert set(answers["annotator"]) == {"ann@example.com"}
    assert (answers["lead_time"].astype(float) > 0).all()
    assert found.read == set(tasks)
    assert sample(2) in studio.answers_since(watermark).read


def test_an_edit_is_a_new_version_and_a_deletion_is_seen(studio):
    tasks = studio.assign(batch_of([1, 2]))
    given = annotate(studio, tasks[sample(1)], ["cat"])
    first = studio.answers_since(None)
    key = f"{sample(1)}:{given.id}"
    assert first.answers["external_id"].tolist() == [key]

    dog = [{**given.result[0], "value": {"choices": [DOG]}}]
    studio.client.annotations.update(id=given.id, result=dog)
    second = studio.answers_since(first.watermark)
    assert second.answers[["external_id", "value"]].to_numpy().tolist() == [[key, DOG]]
    assert second.answers["updated_at"][0] > first.answers["updated_at"][0]

    studio.client.annotations.delete(id=given.id)
    third = studio.answers_since(second.watermark)
    assert (len(third.answers), sample(1) in third.read) == (0, True)


def test_a_draft_is_no_answer_until_it_is_submitted(studio, label_studio):
    task = studio.assign(batch_of([1]))[sample(1)]
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    cat, dog = ([{**chosen, "value": {"choices": [name]}}] for name in ("cat", DOG))
    token = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=token, timeout=60) as browser:

        def post(path: str, **body) -> int:
            answer = browser.post(f"/api/tasks/{task}/{path}", json={"lead_time": 1.0, **body})
            assert answer.status_code == 201
            return int(answer.json()["id"])

        draft = post("drafts", result=dog)
        before = studio.answers_since(None)
        assert (len(before.answers), len(before.refused)) == (0, 0)
        submitted = post("annotations/", result=dog, draft_id=draft)
        after = studio.answers_since(before.watermark)
        assert after.answers["external_id"].tolist() == [f"{sample(1)}:{submitted}"]
        assert after.answers["value"].tolist() == [DOG]
        post(f"annotations/{submitted}/drafts", result=cat)  # they think about it once more
        assert studio.answers_since(None).answers["value"].tolist() == [DOG]


def test_what_can_be_no_label_is_refused_with_the_reason_and_the_task(studio):
    tasks = studio.assign(batch_of(range(7)))
    box = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": {}}
    said: dict[str, dict[str, Any]] = {
        "UNKNOWN_CLASS": {"choices": ["zebra"]},
        "TWO_CHOICES": {"choices": ["cat", DOG]},
        "EMPTY": {"choices": None},
        "WRONG_CONTROL": {"choices": None, "result": [box]},
    }
    for number, post in enumerate(said.values()):
        annotate(studio, tasks[sample(number)], **post)
    foreign = {"data": {"image": "/elsewhere.png"}}
    studio.client.projects.import_tasks(studio.project_id, request=[foreign])
    stranger = max(t.id for t in studio.client.tasks.list(project=studio.project_id))
    annotate(studio, stranger, ["cat"])
    twice = [annotate(studio, tasks[sample(6)], [name]) for name in ("cat", DOG)]

    found = studio.answers_since(None)
    assert found.refused["reason"].tolist() == [*said, "UNKNOWN_SAMPLE"]
    assert found.refused["sample_id"].tolist() == [*map(sample, range(4)), None]
    assert found.refused["detail"][0].startswith(f"task {tasks[sample(0)]}: 'zebra' is none of")
    assert found.refused["digest"].is_unique
    # Both answers of one person are handed on, the later one last: consensus decides.
    assert found.answers["value"].tolist() == ["cat", DOG]
    assert found.answers["external_id"].tolist() == [f"{sample(6)}:{one.id}" for one in twice]


def test_a_sample_asked_again_keeps_the_answers_to_its_earlier_task(studio, monkeypatch):
    monkeypatch.setattr(exchange, "OVERLAP", 0.0)
    first = studio.assign(batch_of([1, 2, 3]))
    annotate(studio, first[sample(1)], ["cat"])
    annotate(studio, first[sample(3)], ["cat"])
    watermark = studio.answers_since(None).watermark
    second = studio.assign(batch_of([1, 2], round_id="round-0002", model=None))
    assert second[sample(1)] != first[sample(1)]
    assert sorted(stored(studio)) == sorted(map(sample, [1, 1, 2, 3]))

    annotate(studio, second[sample(1)], [DOG])
    found = studio.answers_since(watermark).answers
    assert found.loc[found["sample_id"] == sample(1), "value"].tolist() == ["cat", DOG]


def test_reading_in_small_pages_misses_nothing(studio, monkeypatch):
    tasks = studio.assign(batch_of(range(12)))
    for number in (2, 9):
        annotate(studio, tasks[sample(number)], ["cat"])
    monkeypatch.setattr(exchange, "PAGE", 3)
    found = studio.answers_since(None)
    assert found.read == set(tasks)
    assert found.answers["sample_id"].tolist() == [sample(2), sample(9)]


def test_nothing_that_was_answered_is_withdrawn(studio):
    tasks = studio.assign(batch_of([1, 2, 3]))
    annotate(studio, tasks[sample(1)], ["cat"])
    annotate(studio, tasks[sample(2)], ["cat"], was_cancelled=True)
    assert studio.withdraw(list(tasks)) == {sample(3)}
    assert sorted(stored(studio)) == sorted([sample(1), sample(2)])


@pytest.fixture(scope="module")
def token(label_studio) -> str:
    """A personal access token; the server shows it once."""
    return personal_access_token(label_studio)


def test_both_kinds_of_token_open_the_door(label_studio, workspace, token):
    for api_key in (label_studio.api_key, token):
        with exchange.connect(label_studio.url, api_key) as studio:
            assert studio.project(workspace) > 0
    access = httpx.post(f"{label_studio.url}/api/token/refresh/", json={"refresh": token})
    with pytest.raises(ValueError, match="a short-lived access token"):
        open_and_close(label_studio.url, access.json()["access"])


@pytest.mark.parametrize(
    ("api_key", "words"),
    [("0" * 40, "a legacy token"), ("secret.word.x", "neither a personal access token"),
     ("two words", "has blanks"), ("", "is empty")],
)  # fmt: skip
def test_a_wrong_token_is_one_sentence_without_the_token(label_studio, api_key, words):
    with pytest.raises(ValueError, match=words) as error:
        open_and_close(label_studio.url, api_key)
    assert "Personal Access Token" in str(error.value)
    assert not api_key or api_key not in str(error.value)


def test_a_wrong_address_is_one_sentence(tmp_path, label_studio, token):
    key = label_studio.api_key
    with pytest.raises(ConnectionError, match=r"nothing answers at http://127.0.0.1:\d+: start"):
        open_and_close(f"http://127.0.0.1:{free_port()}", key)
    with pytest.raises(ValueError, match=r"an address like http://"):
        open_and_close("localhost:8080", key)
    for each in (key, token):
        with some_web_site(tmp_path) as url, pytest.raises(ValueError, match="not as Label Studio"):
            open_and_close(url, each)


def test_a_server_that_breaks_off_is_one_sentence(label_studio):
    for fault, words in ((Fault.CUT, "broke off the connection"), (Fault.FAIL, "status 502")):
        with (
            faulty_proxy(label_studio.url, lambda *_, fault=fault: fault) as proxy,
            pytest.raises(ConnectionError, match=words),
        ):
            open_and_close(proxy, label_studio.api_key)


def open_and_close(url: str, api_key: str) -> None:
    with exchange.connect(url, api_key):
        pass


@contextmanager
def some_web_site(folder: Path) -> Iterator[str]:
    """A server that is not Label Studio: it answers everything with a page."""
    (folder / "index.html").write_text("<h1>hello</h1>")
    site = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)
    )
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()
