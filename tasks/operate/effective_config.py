"""The configuration in force: each value, and which place it comes from."""

import os
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr

from core.hone_toml import POLICIES
from core.policy_log import PolicyChange, list_policy_changes
from settings import Settings
from tasks.context import Context

MASK = "********"


@dataclass(frozen=True)
class ConfigValue:
    """One value in force."""

    section: str  # "workspace", a section of hone.toml, or "settings"
    name: str
    value: Any  # ready for JSON; secrets are masked
    source: str  # "default", "hone.toml", "environment" or ".env"


@dataclass(frozen=True)
class EffectiveConfig:
    """All values in force, and how the policies changed."""

    workspace: str
    values: list[ConfigValue]
    changes: list[PolicyChange]


def effective_config(ctx: Context) -> EffectiveConfig:
    """What every command and deployment of this workspace goes by."""
    with ctx.engine.connect() as connection:
        changes = list_policy_changes(connection)
    values = [*_workspace_values(ctx), *_setting_values(ctx.settings)]
    return EffectiveConfig(str(ctx.workspace.root), values, changes)


def _workspace_values(ctx: Context) -> Iterator[ConfigValue]:
    workspace = ctx.workspace
    text = (workspace.root / "hone.toml").read_text(encoding="utf-8")
    written: dict[str, Any] = tomllib.loads(text)
    for name in ("title", "purpose", "kind", "image_size", "price"):
        yield ConfigValue("workspace", name, getattr(workspace, name), _place(name in written))
    yield ConfigValue("workspace", "classes", workspace.class_names, "hone.toml")
    for section in POLICIES:
        for name, value in asdict(getattr(ctx.policies, section)).items():
            yield ConfigValue(section, name, value, _place(name in written.get(section, {})))


def _place(is_written: bool) -> str:
    return "hone.toml" if is_written else "default"


def _setting_values(settings: Settings) -> Iterator[ConfigValue]:
    in_file = {name.upper() for name, value in dotenv_values(".env").items() if value}
    in_environment = {name.upper() for name, value in os.environ.items() if value}
    for name, known in type(settings).model_fields.items():
        alias = str(known.alias)
        source = ".env" if alias in in_file else "default"
        source = "environment" if alias in in_environment else source
        yield ConfigValue("settings", alias, _plain(getattr(settings, name)), source)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    return str(value) if isinstance(value, Path) else value
