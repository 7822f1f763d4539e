"""The queue as people see it: a real Label Studio, two people in two browsers at once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.hone_toml import LabelClass
from core.workspace import Workspace
from labeling.batches.batch import Batch
from labeling.batches.quality_control import mask_for_annotators
from labeling.studio import client as exchange
from labeling.studio.protocol import outgoing_tasks
from tasks.demo.servers import LabelStudioServer
from tests.labeling.studio.outgoing import outgoing
from tests.system.annotators import PASSWORD, Annotator, annotating, sign_up
from tests.system.faulty_proxy import Fault, faulty_proxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.system

CLASSES = (LabelClass("cat", "1", "any <cat>"), LabelClass("dog", "2"))
ADA, BEA, CLEO = (f"{name}@queue.example.com" for name in ("ada", "bea", "cleo"))


@pytest.fixture(scope="module", autouse=True)
def people(label_studio: LabelStudioServer) -> None:
    for person in (ADA, BEA, CLEO):
        sign_up(label_studio, person)


@pytest.fixture
def workspace(document_root: Path, request: pytest.FixtureRequest) -> Workspace:
    root = document_root / f"queue-{abs(hash(request.node.name)):x}"
    (root / "staged" / "images").mkdir(parents=True)
    return Workspace(root, "Queue", "Who ate the food?", CLASSES, image_size=32)


@pytest.fixture
def studio(label_studio: LabelStudioServer, workspace: Workspace) -> Iterator[exchange.Studio]:
    with exchange.connect(label_studio.url, label_studio.api_key) as connected:
        connected.project(workspace, {})
        yield connected


def batch_of(workspace: Workspace, names: str, **more: Any) -> pd.DataFrame:
    """One image a name, each less certain than the one before."""
    rows = []
    for number, name in enumerate(names):
        file = f"{workspace.root.name}/staged/images/{name}.png"
        paint(workspace.root.parent / file, (32, 32))
        rows.append({"sample_id": name, "file": file, "confidence": 0.9 - number / 100})
    usual = {
        "pre_annotation": "cat",
        "pre_annotation_model": "m1",
        "why": "by margin",
    }
    return outgoing(rows, **(usual | more))


def paint(path: Path, size: tuple[int, int]) -> None:
    """An image with something in it: Label Studio shows none of less than 100 bytes."""
    wide, high = size
    rows, columns = np.mgrid[:high, :wide]
    Image.fromarray(
        np.stack([rows % 256, columns % 256, rows * columns % 256], 2).astype(np.uint8)
    ).save(path)


def found_of(studio: exchange.Studio) -> pd.DataFrame:
    return studio.answers_since(None).answers.set_index("sample_id")


@contextmanager
def looking(browser: "Browser", server: LabelStudioServer, email: str) -> Iterator["Page"]:
    """Somebody logged in, on any page."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto("/user/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    context.close()


def test_two_people_at_once_share_one_queue_and_never_one_task(
    studio, workspace, label_studio, browser
):
    tasks = studio.assign(batch_of(workspace, "abcdef"))
    names = {task: name for name, task in tasks.items()}
    with (
        annotating(browser, label_studio, studio.project_id, ADA) as ada,
        annotating(browser, label_studio, studio.project_id, BEA) as bea,
    ):
        seen: dict[str, list[str]] = {ADA: [], BEA: []}
        for _ in range(3):
            for who, person in ((ADA, ada), (BEA, bea)):
                seen[who].append(names[person.task()])
                assert names[ada.task()] != names[bea.task()]
                if len(seen[who]) < 3:
                    person.submit()
    assert seen == {ADA: ["f", "d", "b"], BEA: ["e", "c", "a"]}


def test_keys_and_a_skip(studio, workspace, label_studio, browser):
    studio.assign(batch_of(workspace, "abc"))
    with annotating(browser, label_studio, studio.project_id, ADA) as ada:
        ada.task()
        ada.press("2")
        ada.submit()
        ada.task()
        ada.skip()
        ada.task()
    answers = found_of(studio)
    assert answers["kind"].to_dict() == {"c": "answer", "b": "skip"}
    assert answers.loc["c", ["value", "annotator", "round_id"]].to_numpy().tolist() == [
        "dog", ADA, "round-0001",
    ]  # fmt: skip


def test_an_overlap_goes_to_two_people_and_the_rest_to_one(
    studio, workspace, label_studio, browser
):
    batch = batch_of(workspace, "abcd")
    batch["required_annotators"] = [1, 1, 1, 2]
    names = {task: name for name, task in studio.assign(batch).items()}
    assert studio.assign(batch) == {name: task for task, name in names.items()}
    seen = {}
    for who, count in ((ADA, 2), (BEA, 2)):
        with annotating(browser, label_studio, studio.project_id, who) as person:
            seen[who] = answer_next(person, names, count)
    assert seen[ADA] == ["d", "c"]
    # Who comes later gets first what somebody answered already and is for more people; several of
    # those come in any order, then the rest in that of the queue.
    assert seen[BEA][0] == "d"
    assert seen[BEA][1] in "ab", "the other one is on Ada's screen"
    assert sorted(found_of(studio).loc[["d"], "annotator"]) == [ADA, BEA]


def test_what_is_asked_again_goes_to_somebody_who_has_not_seen_it(
    studio, workspace, label_studio, browser
):
    names = {task: name for name, task in studio.assign(batch_of(workspace, "ab")).items()}
    with annotating(browser, label_studio, studio.project_id, ADA) as ada:
        assert answer_next(ada, names, 2) == ["b", "a"]
    asked = pd.DataFrame(
        [{"sample_id": "b", "round_id": "round-0001", "required_annotators": 2, "disputed": False}]
    )
    assert studio.ask_more(asked) == 1
    assert studio.ask_more(asked) == 0, "what stands as it should is left alone"
    token = {"Authorization": f"Token {token_of(label_studio, ADA)}"}
    url = f"{label_studio.url}/api/projects/{studio.project_id}/next"
    assert httpx.get(url, headers=token).status_code == 404, "nothing is left for her"
    with annotating(browser, label_studio, studio.project_id, BEA) as bea:
        assert answer_next(bea, names, 1) == ["b"]


def test_a_blind_task_keeps_its_place_and_its_guess_never_reaches_the_browser(
    studio, workspace, label_studio, browser
):
    batch = batch_of(workspace, "abc").assign(pre_annotation="dog")
    batch["blind"] = [False, True, False]
    names = {task: name for name, task in studio.assign(batch).items()}
    with looking(browser, label_studio, ADA) as page:
        everything = f"/api/tasks?project={studio.project_id}&fields=all"
        received: list[dict[str, Any]] = page.request.get(everything).json()["tasks"]
    assert ["dog" in json.dumps(task) for task in received] == [True, False, True]
    with annotating(browser, label_studio, studio.project_id, ADA) as ada:
        ada.page.on("response", lambda got: keep_task(received, got))
        seen = {}
        for _ in range(3):
            name = names[ada.task()]
            seen[name] = ada.preselected()
            if not seen[name]:
                ada.press("2")
            if len(seen) < 3:
                ada.submit()
    assert seen == {"c": ["dog"], "b": [], "a": ["dog"]}, "in the order of the queue"
    blind = [task for task in received if task["data"]["sample_id"] == "b"]
    assert len(blind) > 1, "in the list and on the labelling screen"
    assert not any("dog" in json.dumps(task) for task in blind)
    assert [said["result"] for said in blind[-1]["predictions"]] == [[]]


def test_gold_looks_like_any_other_on_the_screen_and_on_the_line(
    studio, workspace, label_studio, browser
):
    chosen = Batch.of(["a", "b"], reason=["margin", "gold"], pre_annotation="cat", confidence=0.5,
                      pre_annotation_model="m1")  # fmt: skip
    staged = batch_of(workspace, "ab")
    files: dict[str, str] = dict(zip(staged["sample_id"], staged["file"], strict=True))
    masked = mask_for_annotators(chosen, np.random.default_rng(0))
    tasks = studio.assign(outgoing_tasks("round-0001", masked, files))
    with looking(browser, label_studio, ADA) as page:
        shown = [
            page.request.get(f"/api/tasks/{task}/").json() for task in (tasks["a"], tasks["b"])
        ]
    assert "gold" not in json.dumps(shown)
    one, other = (shape(task) for task in shown)
    assert one == other


def test_who_decides_sees_all_answers_in_a_tab_and_adds_the_final_one(
    studio, workspace, label_studio, browser
):
    tasks = studio.assign(batch_of(workspace, "ab", required_annotators=2))
    studio.show_tabs([("round-0001", False)])
    for who, value in ((ADA, "cat"), (BEA, "dog")):
        say(label_studio, who, tasks["b"], value)
    row = {"sample_id": "b", "round_id": "round-0001", "required_annotators": 2, "disputed": True}
    assert studio.ask_more(pd.DataFrame([row])) == 1
    with looking(browser, label_studio, CLEO) as page:
        page.goto(f"/projects/{studio.project_id}/data")
        page.get_by_text("Disagreements", exact=True).click()
        page.get_by_text("Tasks: 1 / 2").wait_for()
        page.locator("img[alt=Data]").first.click()
        page.wait_for_function("() => window.Htx?.annotationStore?.annotations.length === 2")
        page.get_by_role("button", name="Create an annotation").click()
        page.wait_for_function("() => Htx.annotationStore.annotations.length === 3")
        page.keyboard.press("2")
        with page.expect_response(lambda got: "/annotations" in got.url and got.ok):
            page.keyboard.press("Control+Enter")
    found = found_of(studio).loc["b"].set_index("annotator")["value"].to_dict()
    assert found == {ADA: "cat", BEA: "dog", CLEO: "dog"}
    assert studio.ask_more(pd.DataFrame([{**row, "disputed": False}])) == 1, "back to the queue"


def test_a_star_set_or_taken_back_is_seen_and_the_answer_stays_its_authors(
    studio, workspace, label_studio
):
    task = studio.assign(batch_of(workspace, "a"))["a"]
    say(label_studio, ADA, task, "dog")
    given = studio.answers_since(None)
    url = f"{label_studio.url}/api/annotations/{given.answers['external_id'][0].split(':')[1]}/"
    cleo = {"Authorization": f"Token {token_of(label_studio, CLEO)}"}
    seen = []
    for star in (True, False):  # over the API: this edition's screen has no star to click
        assert httpx.patch(url, json={"ground_truth": star}, headers=cleo).status_code == 200
        found = studio.answers_since(given.watermark)
        assert found.watermark > given.watermark
        seen += found.answers[["kind", "value", "annotator"]].to_numpy().tolist()
        given = found
    assert seen == [["verdict", "dog", ADA], ["answer", "dog", ADA]]


def test_instructions_come_from_hone_toml_and_are_shown(studio, workspace, label_studio, browser):
    batch = batch_of(workspace, "abc")
    for number, size in ((1, (2000, 300)), (2, (100, 2000))):
        paint(workspace.root.parent / batch["file"][number], size)
    studio.project(workspace, {"cat": batch["file"].tolist()})
    studio.assign(batch)
    with looking(browser, label_studio, ADA) as page:
        page.goto(f"/projects/{studio.project_id}/data")
        page.get_by_role("button", name="Label All Tasks").click()
        page.get_by_text("Who ate the food?").wait_for()
        page.get_by_text("(key 1): any <cat>").wait_for()
        examples = "[...document.querySelectorAll('img[width=\"96\"]')]"
        shown = f"{examples}.filter(image => image.naturalWidth > 0)"
        page.wait_for_function(f"() => {shown}.length === 3")
        heights = page.evaluate(f"() => {examples}.map(image => image.height)")
        assert max(heights) <= 96, "a tall example pushes no other class out of sight"


@pytest.mark.parametrize("size", [(8, 8), (2000, 300), (300, 2000), (3000, 2000)])
def test_image_and_classes_are_in_sight_together(studio, workspace, label_studio, browser, size):
    batch = batch_of(workspace, "a")
    paint(workspace.root.parent / batch["file"][0], size)
    studio.assign(batch)
    with annotating(browser, label_studio, studio.project_id, ADA) as ada:
        ada.task()
        for what in ("img[alt=image]", "input[name=cat]", "input[name=dog]"):
            box = ada.page.locator(what).first.bounding_box()
            assert box is not None
            assert box["y"] + 8 >= 0 and box["y"] + min(box["height"], 700) <= 850, what


def test_a_second_run_of_a_round_leaves_what_is_disputed_where_it_stands(studio, workspace):
    batch = batch_of(workspace, "ab", required_annotators=2)
    tasks = studio.assign(batch)
    row = {"sample_id": "b", "round_id": "round-0001", "required_annotators": 3, "disputed": True}
    studio.ask_more(pd.DataFrame([row]))
    assert studio.assign(batch) == tasks
    found = studio.client.tasks.get(str(tasks["b"]))
    assert (found.data["stage"], found.overlap) == ("disagreement", 3)


def test_what_is_deleted_while_more_are_asked_is_passed_over(studio, workspace, label_studio):
    tasks = studio.assign(batch_of(workspace, "ab"))

    def delete_first(method: str, path: str) -> Fault:
        if method == "PATCH" and path.startswith(f"/api/tasks/{tasks['a']}"):
            studio.client.tasks.delete(str(tasks["a"]))
        return Fault.NONE

    asked = pd.DataFrame(
        [{"sample_id": name, "required_annotators": 2, "disputed": True} for name in "ab"]
    )
    with (
        faulty_proxy(label_studio.url, delete_first) as proxy,
        exchange.connect(proxy, label_studio.api_key) as other,
    ):
        other.project(workspace)
        assert other.ask_more(asked.assign(round_id="round-0001")) == 1
    assert studio.deleted({(name, "round-0001") for name in "ab"}) == {("a", "round-0001")}
    assert studio.client.tasks.get(str(tasks["b"])).overlap == 2


def test_each_round_has_a_tab_and_a_stranger_keeps_theirs(studio, workspace):
    studio.assign(batch_of(workspace, "ab"))
    mine = {"title": "my own", "type": "list", "target": "tasks"}
    studio.client.views.create(project=studio.project_id, data=mine)
    every = [(f"round-{n:04d}", n == 12) for n in range(1, 13)]
    for _ in range(2):
        studio.show_tabs(every[:3], duel=1)
        studio.show_tabs(every, duel=2)
    titles = [tab_title(tab) for tab in studio.client.views.list(project=studio.project_id)]
    newest = [f"round-{n:04d}" for n in range(5, 12)]
    kept = ["my own", *newest, "Review round-0012", "Disagreements"]
    assert sorted(titles) == sorted([*kept, "Duel 2"])
    studio.show_tabs(every)
    titles = [tab_title(tab) for tab in studio.client.views.list(project=studio.project_id)]
    assert sorted(titles) == sorted(kept)


def test_every_tab_opens_and_shows_its_round_the_least_certain_first(
    studio, workspace, label_studio, browser
):
    tasks = studio.assign(batch_of(workspace, "abc"))
    more = {"round_id": "round-0002", "stage": "review"}
    review = batch_of(workspace, "de", **more).assign(confidence=[0.887, 0.883])
    tasks |= studio.assign(review)
    for name in "fg":  # a duel has many rounds and one tab
        blind = {"pre_annotation": None, "pre_annotation_model": None, "confidence": None}
        one = batch_of(workspace, name, round_id=f"round-{name}", stage="duel-3", blind=True)
        tasks |= studio.assign(one.assign(**blind))
    studio.show_tabs([("round-0001", False), ("round-0002", True)], duel=3)
    expected = {
        "round-0001": "cba", "Review round-0002": "ed", "Duel 3": "fg", "Disagreements": "",
        "Everything": "cedbafg",
    }  # fmt: skip
    names = {str(task): name for name, task in tasks.items()}
    seen: dict[str, str] = {}
    broken: list[Any] = []
    with looking(browser, label_studio, ADA) as page:
        page.on("pageerror", lambda error: broken.append(error))
        page.goto(f"/projects/{studio.project_id}/data")
        for title, wanted in expected.items():
            page.get_by_text(title, exact=True).first.click()
            page.get_by_text(f"Tasks: {len(wanted)} / 7").wait_for()
            page.get_by_role("button", name="Label All Tasks").wait_for()
            rows = page.get_by_test_id("table-row").all_inner_texts()
            seen[title] = "".join(names[row.split("\n")[0]] for row in rows)
    assert seen == expected
    assert not broken


def test_a_tab_shows_the_most_similar_image_as_a_picture(studio, workspace, label_studio, browser):
    batch = batch_of(workspace, "ab")
    file = f"{workspace.root.name}/staged/images/known.png"
    paint(workspace.root.parent / file, (48, 24))
    studio.assign(batch.assign(similar=file))
    studio.show_tabs([("round-0001", False)])
    loaded = "image => image.naturalWidth === 48 && image.naturalHeight === 24"
    with looking(browser, label_studio, ADA) as page:
        page.goto(f"/projects/{studio.project_id}/data")
        page.get_by_text("round-0001", exact=True).first.click()
        page.get_by_text("Tasks: 2 / 2").wait_for()
        page.wait_for_function(f"() => [...document.images].filter({loaded}).length === 2")
        assert page.get_by_text(file).count() == 0, "nobody reads an address"


def test_a_task_deleted_by_hand_is_missed(studio, workspace):
    tasks = studio.assign(batch_of(workspace, "abc"))
    sent = {(name, "round-0001") for name in "abc"}
    assert studio.deleted(sent) == set()
    studio.client.tasks.delete(str(tasks["b"]))
    assert studio.deleted(sent) == {("b", "round-0001")}
    assert studio.size() == 2
    left = studio.answers_to(["b"])
    assert (left.read, len(left.answers)) == ({"b"}, 0)


def answer_next(person: Annotator, names: dict[int, str], count: int) -> list[str]:
    """Submit what is shown so many times; the last submission may leave an empty queue."""
    seen = []
    for _ in range(count):
        task = person.task()
        seen.append(names[task])
        with person.page.expect_response(
            lambda got: got.request.method == "POST" and "/annotations" in got.url
        ):
            person.page.keyboard.press("Control+Enter")
        if len(seen) < count:
            person.page.wait_for_function(f"() => window.Htx?.task?.id !== '{task}'")
    return seen


def keep_task(received: list[dict[str, Any]], got: Any) -> None:
    if "next_task" in got.url and got.ok:
        received.append(got.json())


def shape(found: Any) -> Any:
    """What is there, whatever its value."""
    if isinstance(found, dict):
        return {key: shape(value) for key, value in found.items()}
    if isinstance(found, list):
        return [shape(value) for value in found]
    return type(found).__name__


def tab_title(tab: Any) -> str:
    return str(tab.data["title"] if isinstance(tab.data, dict) else tab.data.title)


def token_of(server: LabelStudioServer, email: str) -> str:
    """The legacy token of somebody's account."""
    with httpx.Client(base_url=server.url, headers={"Referer": server.url}) as session:
        session.get("/user/login/")
        form = {"email": email, "password": PASSWORD}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        assert session.post("/user/login/", data=form).status_code == 302
        return str(session.get("/api/current-user/token").json()["token"])


def say(server: LabelStudioServer, email: str, task: int, value: str) -> None:
    """Somebody answers a task."""
    result = {"from_name": "label", "to_name": "image", "type": "choices"}
    body = {"result": [{**result, "value": {"choices": [value]}}], "lead_time": 1.0}
    token = {"Authorization": f"Token {token_of(server, email)}"}
    url = f"{server.url}/api/tasks/{task}/annotations/"
    assert httpx.post(url, json=body, headers=token, timeout=60).status_code == 201
