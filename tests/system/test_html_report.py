"""The page of a workspace in a browser: it fits a phone, loads nothing and says nothing wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.workspace import init_workspace
from tasks.context import open_context
from tasks.report.html.page import page, write_report
from tests.tasks.report.html.facts import EMPTY, full_facts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "\"><img src=x onerror=alert(2)><script>document.title='run'</script>"
CASES = {"empty": EMPTY, "full": full_facts("a rather long name of a class "),
         "hostile": full_facts(EVIL)}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, facts in CASES.items():
        (folder / f"{name}.html").write_text(page(facts), encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", list(CASES))
def test_a_browser_shows_the_page_at_two_widths(
    browser: "Browser", pages: Path, name: str, width: int
) -> None:
    scheme = "light" if width == 390 else "dark"
    shown = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    messages: list[str] = []
    asked: list[str] = []
    shown.on("console", lambda message: messages.append(message.text))
    shown.on("pageerror", lambda error: messages.append(str(error)))
    shown.on("dialog", lambda dialog: messages.append(dialog.message))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(f"file://{pages / name}.html")
    shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    wide = shown.evaluate("document.documentElement.scrollWidth")
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    title = shown.title()
    shown.close()
    assert wide <= width  # what is wider scrolls by itself
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 26)")
    assert title != "run"
    assert messages == []
    assert [url for url in asked if not url.startswith(("file:", "data:image/"))] == []


def test_the_page_is_made_on_postgresql(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = init_workspace(tmp_path / "workspace", ["cat", "dog"], title="Pets")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HONE_DATABASE_URL", postgres)
    ctx = open_context()
    content = write_report(ctx).read_text(encoding="utf-8")
    ctx.engine.dispose()
    assert "<h1>Pets</h1>" in content
