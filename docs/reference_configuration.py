"""The reference pages of settings, configuration classes and deployments."""

import ast
import dataclasses
import importlib
import inspect
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference_commands import cell

ROOT = Path(__file__).parents[1]
PACKAGES = ("labeling", "models", "tasks", "core")
CONFIGURATION = re.compile(r".+(Config|Policy)$")


def settings_page() -> str:
    """Every environment variable: its default and what `.env.example` says about it."""
    from settings import Settings

    notes = _notes()
    lines = [
        "# Settings\n",
        "Generated from `settings.py` and `.env.example`. Where things are comes from the "
        "environment, or from a `.env` file in the current folder; the environment wins.\n",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variable = str(field.alias or name.upper())
        default = "" if field.default is None else f"`{field.default}`"
        meaning = " ".join(filter(None, [field.description, notes.get(variable, "")]))
        lines.append(f"| `{variable}` | {default} | {cell(meaning)} |")
    return "\n".join([*lines, "", _other_variables()])


def configuration_page() -> str:
    """`hone.toml` as `hone init` writes it, and every field of every configuration class."""
    parts = [
        "# Configuration\n",
        "Generated from the code. `hone.toml` says what a workspace is; its sections hold the "
        "policies. The other classes below are parameters of flows, to be set in "
        "`prefect.yaml`, in Prefect's form or, for the most "
        "used ones, on the command line. A value outside its bounds is refused with the value, "
        "the bounds and the remedy.\n",
        "## hone.toml\n",
        f"As `hone init cats --classes cat,dog,neither` writes it:\n\n```toml\n{_hone_toml()}```\n",
    ]
    for found in configuration_classes():
        parts.append(_class_section(found))
    return "\n".join(parts)


def configuration_classes() -> list[type]:
    """Every dataclass of the source whose name ends in Config or Policy, sorted by name."""
    found = {}
    for module, name in _named_classes():
        loaded = getattr(importlib.import_module(module), name)
        if dataclasses.is_dataclass(loaded):
            found[name] = loaded
    return [found[name] for name in sorted(found)]


def deployments_page() -> str:
    """The deployments of `prefect.yaml`: flow, schedule, events, parameters."""
    lines = [
        "# Deployments\n",
        "Generated from `prefect.yaml`; `prefect --no-prompt deploy --all` puts them on a "
        "server.\n",
        "| deployment | what it does | schedule | events | parameters |",
        "|---|---|---|---|---|",
    ]
    for one in deployments():
        schedule = "; ".join(_schedule(each) for each in one.get("schedules", []))
        events = ", ".join(_events(trigger) for trigger in one.get("triggers", []))
        values = ", ".join(f"`{key}`" for key in one.get("parameters", {}))
        lines.append(
            f"| `{one['name']}` | {cell(one['description'])} | {schedule} | {events} | {values} |"
        )
    return "\n".join([*lines, ""])


def _events(trigger: dict[str, Any]) -> str:
    """The events that a trigger waits for, or that do not come."""
    if trigger.get("posture") != "Proactive":
        return ", ".join(f"`{event}`" for event in trigger["expect"])
    awaited = " or ".join(f"`{event}`" for event in trigger["expect"])
    return f"no {awaited} for {trigger['within']} s"


def deployments() -> list[dict[str, Any]]:
    """The deployments as `prefect.yaml` has them."""
    import yaml

    loaded = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return list(loaded["deployments"])


def field_notes(owner: type) -> dict[str, str]:
    """What each field of a class means: its description, then the comment beside it."""
    lines, _ = inspect.getsourcelines(owner)
    reasons: dict[str, str] = {}
    above: list[str] = []
    for line in map(str.rstrip, lines):
        declared = re.match(r"    (\w+): [^#]*(?:#\s*(.*))?$", line)
        if comment := re.match(r"\s+#\s*(.*)$", line):
            above.append(comment[1])
        elif declared:
            reasons[declared[1]] = " ".join([*above, declared[2] or ""]).strip()
            above = []
        elif line.strip():
            above = []
    fields = getattr(owner, "__pydantic_fields__", {})
    described = {name: str(field.description or "") for name, field in fields.items()}
    names = described | reasons
    return {
        name: ". ".join(filter(None, [_sentence(described.get(name, "")),
                                      _sentence(reasons.get(name, ""))]))
        for name in names
    }  # fmt: skip


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def _class_section(owner: type) -> str:
    notes = field_notes(owner)
    lines = [
        f"## {owner.__name__}\n",
        f"`{owner.__module__}.{owner.__name__}`: {inspect.getdoc(owner)}\n",
        "| field | default | bounds | meaning |",
        "|---|---|---|---|",
    ]
    for field in dataclasses.fields(owner):
        lines.append(
            f"| `{field.name}` | {_default(owner, field)} | {_bounds(owner, field.name)} "
            f"| {cell(notes.get(field.name, ''))} |"
        )
    return "\n".join([*lines, ""])


def _default(owner: type, field: Any) -> str:
    described = getattr(owner, "__pydantic_fields__", {}).get(field.name)
    if described is not None:
        return (
            "required"
            if described.is_required()
            else f"`{described.get_default(call_default_factory=True)!r}`"
        )
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def _bounds(owner: type, name: str) -> str:
    """The limits that pydantic checks, such as `>= 0, < 1`."""
    field = getattr(owner, "__pydantic_fields__", {}).get(name)
    signs = {"ge": "&ge;", "gt": "&gt;", "le": "&le;", "lt": "&lt;"}
    return ", ".join(
        f"{sign} {getattr(limit, key):g}"
        for limit in (field.metadata if field else [])
        for key, sign in signs.items()
        if getattr(limit, key, None) is not None
    )


def _named_classes() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and CONFIGURATION.match(node.name):
                    yield module.removesuffix(".__init__"), node.name


def _hone_toml() -> str:
    from core.workspace import init_workspace
    from tasks.policies import policies_toml

    with tempfile.TemporaryDirectory() as folder:
        made = init_workspace(
            Path(folder) / "cats", ["cat", "dog", "neither"], policies=policies_toml()
        )
        return (made.root / "hone.toml").read_text(encoding="utf-8")


def _notes() -> dict[str, str]:
    """The comment above each variable in `.env.example`."""
    notes: dict[str, str] = {}
    above: list[str] = []
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        variable = re.match(r"# ([A-Z_]+)=", line)
        if variable:
            notes[variable[1]] = " ".join(above)
            above = []
        elif line.startswith("#"):
            above.append(line.lstrip("# "))
        else:
            above = []
    return notes


def _other_variables() -> str:
    return (
        "`HONE_TRACEBACK=1` shows the stack behind an error. Variables of other tools work as they "
        "document them: `AWS_*` for object stores, `PREFECT_*`, `WANDB_*`, `BENTOML_HOME`.\n"
    )


def _schedule(schedule: dict[str, Any]) -> str:
    if "cron" in schedule:
        return f"`{schedule['cron']}` ({schedule['slug']})"
    return f"every {schedule['interval']} s"
