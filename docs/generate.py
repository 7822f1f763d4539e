"""The reference pages of the site, written from the code each time the site is built.

MkDocs calls `on_files` (mkdocs.yml names this file under `hooks`); nothing generated is committed.
`pages()` returns the same pages as text, for the tests.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
for folder in (ROOT, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import reference_code  # noqa: E402
import reference_commands  # noqa: E402
import reference_configuration  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": reference_commands.commands_page,
    "reference/settings.md": reference_configuration.settings_page,
    "reference/configuration.md": reference_configuration.configuration_page,
    "reference/deployments.md": reference_configuration.deployments_page,
    "reference/registries.md": reference_code.registries_page,
    "reference/events.md": reference_code.events_page,
    "reference/tables.md": reference_code.tables_page,
    "reference/python.md": reference_code.python_page,
    "changelog.md": lambda: (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    "contributing.md": lambda: (
        (ROOT / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .replace("](docs/", "](")
        .replace("](CHANGELOG.md)", "](changelog.md)")
    ),
}


def pages() -> dict[str, str]:
    """Each generated page as Markdown, by its path below docs/."""
    return {path: page() for path, page in PAGES.items()}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the generated pages to those that MkDocs found in docs/."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to source files, which the site does not hold, become the text of the link."""
    folders = "flows|tasks|labeling|models|core|tests|examples|benchmarks"
    return re.sub(rf"\[([^\]]+)\]\(\.\./(?:{folders})/[^)]*\)", r"\1", markdown)
