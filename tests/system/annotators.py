"""People who use Label Studio: how they sign up, and what they do in their browser."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from tasks.demo.servers import LabelStudioServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PASSWORD = "annotate-with-care-1"
RENDERED = "() => document.querySelector('img[alt=image]')?.naturalWidth > 0"


def sign_up(server: LabelStudioServer, email: str) -> None:
    """Make an account the way a person does who was sent an invitation."""
    token = {"Authorization": f"Token {server.api_key}"}
    with httpx.Client(base_url=server.url, headers={"Referer": server.url}) as session:
        invitation = session.get("/api/invite", headers=token).json()["invite_url"]
        session.get(invitation)
        form = {"email": email, "password": PASSWORD, **_csrf(session)}
        assert session.post(invitation, data=form).status_code == 302


def personal_access_token(server: LabelStudioServer) -> str:
    """A new token of the newer kind, as the account page makes it."""
    with httpx.Client(base_url=server.url, headers={"Referer": server.url}) as session:
        session.get("/user/login/")
        form = {"email": server.username, "password": server.password, **_csrf(session)}
        assert session.post("/user/login/", data=form).status_code == 302
        headers = {"X-CSRFToken": session.cookies["csrftoken"]}
        return str(session.post("/api/token/", headers=headers).json()["token"])


class Annotator:
    """Somebody in front of the labelling screen of one project."""

    def __init__(self, page: "Page") -> None:
        self.page = page

    def task(self) -> int:
        """The task on the screen, once its image is really there."""
        self.page.wait_for_function(RENDERED)
        return int(self.page.evaluate("() => Htx.task.id"))

    def preselected(self) -> list[str]:
        """The classes that are ticked."""
        boxes = self.page.locator("input.ant-checkbox-input:checked")
        return [str(boxes.nth(n).get_attribute("name")) for n in range(boxes.count())]

    def press(self, key: str) -> None:
        """Choose by hotkey."""
        self.page.keyboard.press(key)

    def submit(self) -> None:
        """Hand in the choice and wait for the next image."""
        self._leave(lambda: self.page.keyboard.press("Control+Enter"))

    def skip(self) -> None:
        """Hand in nothing and wait for the next image."""
        self._leave(self.page.get_by_test_id("bottombar-skip-button").click)

    def _leave(self, act: Callable[[], None]) -> None:
        before = self.task()
        act()
        self.page.wait_for_function(f"() => window.Htx?.task?.id !== '{before}'")


@contextmanager
def annotating(
    browser: "Browser", server: LabelStudioServer, project: int, email: str
) -> Iterator[Annotator]:
    """`email`, logged in, who pressed "Label All Tasks"."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto("/user/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(re.compile(r"/(projects)?/?$"))
    page.goto(f"/projects/{project}/data")
    page.get_by_role("button", name="Label All Tasks").click()
    page.get_by_text("Labeling Instructions").wait_for()  # each person sees them when they begin
    page.keyboard.press("Escape")
    page.get_by_text("Labeling Instructions").wait_for(state="hidden")
    yield Annotator(page)
    context.close()


def _csrf(session: httpx.Client) -> dict[str, str]:
    return {"csrfmiddlewaretoken": session.cookies["csrftoken"]}
