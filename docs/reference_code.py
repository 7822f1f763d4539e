"""The reference pages of registries, events, tables and the Python API."""

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference_commands import cell

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "labeling", "models", "core")
REGISTRIES = {  # title: where it is, and what an entry is
    "Strategies": ("labeling.strategies", "STRATEGIES", "chooses the rows of a pool to ask about"),
    "Consensus methods": ("labeling.consensus", "METHODS", "turns answers into labels with trust"),
    "Readers": ("labeling.formats", "READERS", "reads labels for `hone import --format NAME`"),
    "Writers": ("labeling.formats", "WRITERS", "writes a snapshot for `hone export --format NAME`"),
    "Label kinds in labeling": ("labeling.kinds", "KINDS", "what depends on what a label is"),
    "Label kinds in models": ("models.kinds", "KINDS", "head, loss, outputs, credit, views"),
    "Detectors": ("models.watching", "DETECTORS", "compares a window with the reference"),
    "Criteria": ("models.judging", "CRITERIA", "is one condition of a verdict"),
    "Checks": ("tasks.operate", "CHECKS", "looks for broken promises for `hone fsck`"),
}
API = (
    "labeling.strategies", "labeling.strategies.pool", "labeling.consensus.votes",
    "labeling.consensus.settle", "labeling.simulation", "labeling.snapshots.publish",
    "labeling.formats.imports", "labeling.formats.exports", "labeling.budget.learning_curve",
    "labeling.kinds", "models.kinds", "models.kinds.kind", "models.network.network",
    "models.training.train", "models.training.recipe", "models.scoring.predict",
    "models.judging.compare",
    "models.judging.gate", "models.judging.verdict", "models.registry.versions",
    "models.registry.releases", "models.registry.challengers", "models.registry.rollbacks",
    "models.serving.service", "models.watching.signals", "core.workspace", "core.database",
    "core.images", "core.locks", "core.intents",
)  # fmt: skip


def registries_page() -> str:
    """Every entry of every registry, with the first sentence of its docstring."""
    parts = ["# Registries\n", "Generated from the code: what can be named in an option, "
             "a parameter or a file, and where one more goes.\n"]  # fmt: skip
    for title, (package, name, meaning) in REGISTRIES.items():
        for module, registry in _registry(package, name):
            parts += [f"## {title}\n", f"`{name}` in `{module}`; an entry {meaning}.\n"]
            parts.append(_registry_table(registry))
    return "\n".join(parts)


def events_page() -> str:
    """Every Prefect event that the code raises, and what it starts."""
    from reference_configuration import deployments

    lines = [
        "# Events\n",
        "Generated from `tasks/` and `prefect.yaml`. An event only wakes a flow: what the flow "
        "acts "
        "on is in the database, so an event that is lost costs time, not data. The resource of "
        "each "
        "is `hone.workspace`.\n",
        "| event | meaning, and what raises it | starts |",
        "|---|---|---|",
    ]
    for event, raised in events().items():
        starts = [
            f"`{one['name']}`"
            for one in deployments()
            for trigger in one.get("triggers", [])
            if event in trigger["expect"]
        ]
        lines.append(f"| `{event}` | {cell(raised)} | {', '.join(starts)} |")
    return "\n".join([*lines, ""])


def events() -> dict[str, str]:
    """The name of every event, with what it means and the functions that raise it."""
    from tasks.events import EventName

    source = (ROOT / "tasks" / "events.py").read_text(encoding="utf-8")
    notes = dict(re.findall(r'^    \w+ = "(hone\.[a-z-]+)"\s*# (.*)$', source, re.MULTILINE))
    return {
        one.value: f"{notes.get(one.value, '')} ({', '.join(_raised_by(one.name))})"
        for one in EventName
    }


def _raised_by(member: str) -> Iterator[str]:
    """The functions of tasks that name a member of `EventName`."""
    for path in _sources("tasks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and f"EventName.{member}" in ast.unparse(node):
                yield f"`{node.name}` in `{path.relative_to(ROOT).as_posix()}`"


def tables_page() -> str:
    """Every table and column of the database, with the comments beside them."""
    parts = [
        "# Tables\n",
        "Generated from the SQLAlchemy tables. All are in one database: `hone.sqlite` in the "
        "workspace, or the PostgreSQL that `HONE_DATABASE_URL` names. Rows of history are closed, "
        "never changed. Times are ISO 8601 in UTC.\n",
    ]
    comments = _column_comments()
    for name, table in sorted(tables().items()):
        parts.append(f"## {name}\n")
        if table.comment or comments.get((name, "")):
            parts.append(f"{table.comment or comments[name, '']}\n")
        parts += ["| column | type | key | meaning |", "|---|---|---|---|"]
        for column in table.columns:
            note = column.comment or comments.get((name, column.name), "")
            parts.append(f"| `{column.name}` | {column.type} | {_key(column)} | {cell(note)} |")
        parts.append("")
    return "\n".join(parts)


def tables() -> dict[str, Any]:
    """Every table by name, once the modules that declare them are imported."""
    from core.database import metadata

    for path in _sources("labeling", "models", "core", "tasks"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^\w+ = Table\(", text, re.MULTILINE) and "migrations" not in path.parts:
            importlib.import_module(_module_name(path))
    return dict(metadata.tables)


def python_page() -> str:
    """The public functions and classes of the modules that users and contributors import."""
    parts = [
        "# Python API\n",
        "Generated from the docstrings. `labeling.strategies`, `labeling.consensus` and "
        "`labeling.simulation` work on arrays and tables alone, without a workspace.\n",
    ]
    parts += [f"## {module}\n\n::: {module}\n" for module in API]
    return "\n".join(parts)


def _registry(package: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The registry, wherever below `package` it is declared."""
    for path in _sources(package.replace(".", "/")):
        if re.search(rf"^{name}\b.*[=:]", path.read_text(encoding="utf-8"), re.MULTILINE):
            module = _module_name(path)
            found = getattr(importlib.import_module(module), name)
            yield module, found if isinstance(found, dict) else {str(n): n for n in found}


def _registry_table(registry: dict[str, Any]) -> str:
    rows = [(name, *_parts(entry)) for name, entry in registry.items()]
    facts = list(dict.fromkeys(key for _, _, given in rows for key in given))
    lines = [f"| {' | '.join(['name', *facts, 'what it does'])} |", "|---" * (len(facts) + 2) + "|"]
    for name, function, given in rows:
        cells = [f"`{name}`", *(given.get(key, "") for key in facts), _first_paragraph(function)]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join([*lines, ""])


def _parts(entry: Any) -> tuple[Any, dict[str, str]]:
    """The function of an entry, and what the entry says about it."""
    if not dataclasses.is_dataclass(entry) or isinstance(entry, type):
        return entry, {}
    values = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
    functions = [value for value in values.values() if callable(value)]
    given = {name: value for name, value in values.items() if not callable(value)}
    return functions[0] if functions else entry, {
        name: ", ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
    }


def _first_paragraph(entry: Any) -> str:
    return (inspect.getdoc(entry) or "").split("\n\n")[0]


def _column_comments() -> dict[tuple[str, str], str]:
    """The comment beside each `Column(...)`, and above each `Table(...)`, in the source."""
    found: dict[tuple[str, str], str] = {}
    for path in _sources("labeling", "models", "core", "tasks"):
        if "migrations" in path.parts:
            continue
        table, above = "", []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# "):
                above.append(line[2:])
                continue
            if named := re.match(r'    "(\w+)",$', line):
                table = table or named[1]
                found[table, ""] = " ".join(above)
            elif column := re.match(r'    Column\("(\w+)".*?\),\s*#\s*(.*)$', line):
                found[table, column[1]] = column[2]
            elif not line.strip():
                table, above = "", []
    return found


def _key(column: Any) -> str:
    keys = ["primary key"] if column.primary_key else []
    keys += [f"&rarr; `{key.target_fullname}`" for key in column.foreign_keys]
    if not column.nullable and not column.primary_key:
        keys.append("not null")
    return ", ".join(keys)


def _sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
