"""The reference page of the command line, from the Typer application itself."""

from typing import Any


def commands() -> dict[str, Any]:
    """Every command of `hone` by the words that call it, groups of commands included."""
    import typer

    from flows.cli import app

    return dict(_leaves(typer.main.get_command(app), ()))


def commands_page() -> str:
    """One section a command: what it does, its arguments and its options with defaults."""
    parts = [
        "# Commands\n",
        "Generated from `flows/cli`. `hone --workspace FOLDER COMMAND` names the workspace; "
        "without "
        "it `HONE_WORKSPACE` does, else the current folder. An error is one line on standard error "
        "that begins with `hone:`, and exit code 1; `HONE_TRACEBACK=1` shows the stack behind "
        "it.\n",
    ]
    found = commands()
    panels: dict[str, list[str]] = {}
    for name, command in found.items():
        panels.setdefault(str(getattr(command, "rich_help_panel", None) or "Commands"), []).append(
            name
        )
    for panel, names in panels.items():
        if len(panels) > 1:
            parts.append(f"## {panel}\n")
        for name in names:
            parts.append(_section(name, found[name], level="###" if len(panels) > 1 else "##"))
    return "\n".join(parts)


def _leaves(group: Any, before: tuple[str, ...]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        words = (*before, name)
        if hasattr(command, "commands"):
            found += _leaves(command, words)
        elif not command.hidden:
            found.append((" ".join(words), command))
    return found


def _section(name: str, command: Any, *, level: str) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join(["hone", name, *(_shown(argument) for argument in arguments)])
    lines = [f"{level} hone {name}\n", f"{(command.help or '').strip()}\n"]
    lines.append(f"```console\n$ {usage}{' [OPTIONS]' if options else ''}\n```\n")
    if arguments or options:
        lines += ["| parameter | default | meaning |", "|---|---|---|"]
        lines += [_row(one) for one in (*arguments, *options)]
        lines.append("")
    return "\n".join(lines)


def _shown(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"| {names} | {_default(parameter)} | {cell(parameter.help or '')} |"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or value == "" or not isinstance(value, _PLAIN):
        return ""
    return f"`{getattr(value, 'value', value)}`"


_PLAIN = (bool, int, float, str)


def cell(text: object) -> str:
    """Text that fits into one cell of a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())
