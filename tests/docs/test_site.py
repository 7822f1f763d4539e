"""The documentation: built strictly, complete against the code, and asking no other host."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKDOWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
REFERENCES = ("reference/commands.md", "reference/settings.md", "reference/configuration.md",
              "reference/registries.md", "reference/events.md", "reference/tables.md")  # fmt: skip


@cache
def reference() -> dict[str, str]:
    """The generated pages."""
    sys.path.insert(0, str(DOCS))
    try:
        return dict(import_module("generate").pages())
    finally:
        sys.path.remove(str(DOCS))


def command_names() -> list[str]:
    """Every command, from the decorators in flows/cli."""
    names = []
    for path in sorted((ROOT / "flows" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for one in node.decorator_list:
                if isinstance(one, ast.Call) and ast.unparse(one.func).endswith(".command"):
                    given = [word.value for word in one.args if isinstance(word, ast.Constant)]
                    names.append(str(given[0]) if given else node.name.replace("_", "-"))
    return names


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_with_every_link_good(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert "Pool" in (site / "reference" / "python.html").read_text(encoding="utf-8")


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//"
        r"|<link[^>]+stylesheet[^>]+href=\"(?:https?:)?//"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert not [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))]


def test_every_command_is_in_the_reference_and_in_prose() -> None:
    commands = command_names()
    assert len(commands) >= 19
    text = reference()["reference/commands.md"]
    assert not [name for name in commands if not re.search(rf"^##+ hone .*{name}$", text, re.M)]
    pages = [*MARKDOWN, *DOCS.rglob("*.md")]
    prose = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    assert not [name for name in commands if not re.search(rf"hone (\w+ )?{name}\b", prose)]


def test_every_setting_is_in_the_reference() -> None:
    from settings import Settings

    text = reference()["reference/settings.md"]
    missing = [field.alias for field in Settings.model_fields.values()
               if f"| `{field.alias}` |" not in text]  # fmt: skip
    assert not missing


def test_every_configuration_field_is_in_the_reference() -> None:
    flows = [import_module(f"flows.{path.stem}") for path in (ROOT / "flows").glob("[a-z]*.py")]
    classes = {
        value
        for flow in flows
        for value in vars(flow).values()
        if isinstance(value, type) and value.__name__.endswith(("Config", "Policy"))
    }
    assert len(classes) >= 8
    text = reference()["reference/configuration.md"]
    for owner in classes:
        section = text.split(f"## {owner.__name__}\n")[1].split("\n## ")[0]
        assert not [field.name for field in dataclasses.fields(owner)
                    if f"| `{field.name}` |" not in section]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "registry"),
    [
        ("labeling.strategies", "STRATEGIES"),
        ("labeling.consensus.settle", "METHODS"),
        ("labeling.formats.imports", "READERS"),
        ("labeling.formats.exports", "WRITERS"),
        ("models.kinds", "KINDS"),
        ("labeling.kinds", "KINDS"),
        ("tasks.operate.fsck", "CHECKS"),
    ],
)
def test_every_entry_of_a_registry_is_in_the_reference(module: str, registry: str) -> None:
    names = list(getattr(import_module(module), registry))
    assert names
    text = reference()["reference/registries.md"]
    assert not [name for name in names if f"| `{name}` |" not in text]


def test_every_event_is_in_the_reference() -> None:
    """Events in the source, and those of ours that a deployment waits for."""
    waits = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    events = {
        event
        for one in waits
        for trigger in one.get("triggers", [])
        for event in trigger["expect"]
        if not event.startswith("prefect.")
    }
    for path in (ROOT / "tasks").rglob("*.py"):
        events |= set(re.findall(r"= ?\"(hone\.[a-z-]+)\"", path.read_text(encoding="utf-8")))
    events -= {"hone.workspace"}  # the resource that they are about
    assert len(events) >= 3
    text = reference()["reference/events.md"]
    assert not [event for event in events if f"| `{event}` |" not in text]


def test_every_table_and_column_is_in_the_reference() -> None:
    from core.database import metadata

    text = reference()["reference/tables.md"]
    assert len(metadata.tables) > 10
    for name, table in metadata.tables.items():
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert not [
            column.name for column in table.columns if f"| `{column.name}` |" not in section
        ]


@pytest.mark.parametrize("page", REFERENCES)
def test_a_generated_page_has_rows(page: str) -> None:
    assert len(re.findall(r"^\| `", reference()[page], re.M)) >= 3


def test_links_outside_the_site_lead_to_files() -> None:
    for path in MARKDOWN:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|src=\"([^\":]+)\"", path.read_text("utf-8"))
        assert not [link for link in map("".join, links) if not (path.parent / link).exists()]


def test_the_readme_is_for_the_first_ten_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    commands = re.findall(r"^\$ (make \w+)", text, re.M)
    assert commands[:2] == ["make demo", "make test"]
    assert "Business Source License" in text


def test_code_that_the_prose_names_exists() -> None:
    """Paths in backticks such as `labeling/budget/learning_curve.py`."""
    for path in [*DOCS.rglob("*.md"), *MARKDOWN]:
        named = re.findall(r"`((?:flows|tasks|labeling|models|core|tests|examples|benchmarks|docs)"
                           r"/[\w/.-]+)`", path.read_text(encoding="utf-8"))  # fmt: skip
        assert not [f"{path.name}: {one}" for one in named if not (ROOT / one).exists()]
