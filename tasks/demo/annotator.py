"""A Label Studio server of the demo's own, and the person in front of it."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labeling.ledger import rounds
from labeling.studio import client
from settings import Settings
from tasks.context import open_context
from tasks.demo import servers

if TYPE_CHECKING:
    from tasks.demo.recipe import Progress

LOOK_SECONDS = 3.0


@dataclass(frozen=True)
class DemoAnnotator:
    """Whoever answers in the browser."""

    story: "Progress"
    url: str

    def wait(self) -> None:
        """Return when every open assignment has an annotation in Label Studio."""
        with open_context().engine.connect() as connection:
            waiting = rounds.open_assignments(connection)
        self.story(f"please label {len(waiting)} images: {self.url} (Label All Tasks)")
        ctx = open_context()
        while True:
            with client.connect(
                url=str(ctx.settings.label_studio_url),
                api_key=os.environ["LABEL_STUDIO_API_KEY"],
            ) as studio:
                studio.project(ctx.workspace)
                done = studio.answers_since(None).answers["sample_id"]
            if set(waiting["sample_id"]) <= set(done):
                return
            time.sleep(LOOK_SECONDS)


@contextmanager
def demo_annotator(home: Path, story: "Progress") -> Iterator[DemoAnnotator]:
    """Start Label Studio for the demo's workspace; the person logs in there."""
    workspace = open_context().workspace
    with servers.label_studio(
        find_command(), home / "label-studio", document_root=workspace.staged
    ) as studio:
        os.environ["LABEL_STUDIO_URL"] = studio.url
        os.environ["LABEL_STUDIO_API_KEY"] = studio.api_key
        story(
            f"Label Studio at {studio.url}: log in as {studio.username}, password {studio.password}"
        )
        yield DemoAnnotator(story, studio.url)


def find_command() -> Path:
    """The `label-studio` program; a missing one is an error that says how to install it."""
    named = Settings().label_studio_command
    beside = Path(__file__).parents[2] / ".venv-studio" / "bin" / "label-studio"
    on_path = shutil.which("label-studio")
    for candidate in (named, beside, Path(on_path) if on_path else None):
        if candidate is not None and candidate.exists():
            return candidate
    raise ValueError(
        "Label Studio is not installed: run `make studio` (its own environment .venv-studio), or "
        "name its program in HONE_LABEL_STUDIO_COMMAND"
    )
