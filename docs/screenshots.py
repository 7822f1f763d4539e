"""Take the screenshots of docs/for-annotators.md anew: `python docs/screenshots.py`.

A real Label Studio with handwritten digits, opened in headless Chromium. It needs `make studio` and
Chromium, and takes a minute.
"""

import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from core.workspace import LabelClass, Workspace  # noqa: E402
from labeling.studio import client  # noqa: E402
from labeling.studio.protocol import OUTGOING  # noqa: E402
from tasks.demo import digits, servers  # noqa: E402
from tasks.demo.annotator import find_command  # noqa: E402
from tests.system.annotators import RENDERED  # noqa: E402

IMAGES = ROOT / "docs" / "images"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Send a batch of digits to a new Label Studio, then open it as an annotator does."""
    with tempfile.TemporaryDirectory(prefix="hone-screenshots-") as name:
        root = Path(name) / "digits"
        root.mkdir()
        classes = tuple(LabelClass(str(n), str(n)) for n in range(10))
        workspace = Workspace(
            root, "Handwritten digits", "Which digit is written here?", classes, image_size=32
        )
        with (
            servers.label_studio(find_command(), Path(name) / "studio", Path(name)) as server,
            client.connect(server.url, server.api_key) as studio,
        ):
            project = studio.project(workspace)
            studio.assign(batch(workspace))
            take(server, project)


def batch(workspace: Workspace) -> pd.DataFrame:
    """Twelve digits with pre-annotations, three of them wrong."""
    rows = []
    for number, digit in enumerate(digits.load_digits(seed=0)[0][:12]):
        file = root_relative(workspace, digit.name)
        digits.write_digits((workspace.root.parent / file).parent, [digit])
        predicted = "8" if number % 4 == 0 else digit.truth
        pre_annotation = {"pre_annotation": predicted, "confidence": 0.3 + number / 20}
        rows.append({"sample_id": digit.sample_id, "file": file, **pre_annotation})
    return OUTGOING.check(
        pd.DataFrame(rows).assign(
            pre_annotation_model="hone:0001",
            round_id="round-0001",
            similar=None,
            stage="queue",
            why="the model is unsure",
            blind=False,
            required_annotators=1,
        )
    )


def root_relative(workspace: Workspace, name: str) -> str:
    """The path of an image below the folder that Label Studio may show."""
    return f"{workspace.root.name}/{workspace.staged.name}/images/{name}"


def take(server: servers.LabelStudioServer, project: int) -> None:
    """The project's tasks, the instructions, and an image with its classes."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        page = browser.new_page(base_url=server.url, viewport={"width": 1280, "height": 800})
        page.goto("/user/login/")
        page.fill("input[name=email]", server.username)
        page.fill("input[name=password]", server.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        page.goto(f"/projects/{project}/data")
        page.get_by_role("button", name="Label All Tasks").wait_for()
        page.wait_for_load_state("networkidle")
        save(page, "annotators-project.png")
        page.get_by_role("button", name="Label All Tasks").click()
        page.get_by_text("Labeling Instructions").wait_for()
        page.wait_for_load_state("networkidle")
        save(page, "annotators-instructions.png")
        page.keyboard.press("Escape")
        page.get_by_text("Labeling Instructions").wait_for(state="hidden")
        page.wait_for_function(RENDERED)
        save(page, "annotators-screen.png")
        browser.close()


def save(page: Page, name: str) -> None:
    """A small PNG: 64 colours are enough for a screen."""
    path = IMAGES / name
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main()
