"""The source as the rules of test_architecture.py see it: imports, names, calls, lengths."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = {"core": 0, "labeling": 1, "models": 1, "tasks": 2, "flows": 3}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> tuple[Path, ...]:
    """Every module of the source, without the tests."""
    paths = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    return (*paths, *ROOT.glob("settings.py"))


def name_of(path: Path) -> str:
    """The path as the repository knows it: `core/locks.py`."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """The dotted name under which a file is imported: `core.locks`."""
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_migration(path: Path) -> bool:
    """Whether the file is a migration, which is written once and not changed."""
    return name_of(path).startswith("core/migrations/versions/")


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Every module that a file imports, and every name it takes from one, as a dotted name."""
    tree = tree_of(path)
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {module.split(".")[0] for module in imported(path)}


def imported_when_run(path: Path) -> Iterator[str]:
    """Like `imported`, without what only the type checker imports."""
    for_types = [
        inner
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import) and node not in for_types:
            yield from (alias.name for alias in node.names)


def reached_from(starts: tuple[Path, ...]) -> dict[str, str]:
    """Every module of the source that running `starts` can import, and the file that does so."""
    files = {module_of(path): path for path in sources()}
    importers: dict[str, str] = {}
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        for module in imported_when_run(path):
            if module in files and module not in importers:
                importers[module] = name_of(path)
                waiting.append(files[module])
    return importers


def imported_by_tests() -> set[str]:
    """Every module that a test imports."""
    return {module for path in (ROOT / "tests").rglob("*.py") for module in imported(path)}


def has_mirror(path: Path) -> bool:
    """Whether `tests/core/test_locks.py` stands beside `core/locks.py`."""
    return (ROOT / "tests" / Path(name_of(path)).with_name(f"test_{path.name}")).is_file()


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: Function) -> int:
    """How many lines a function has."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def calls(path: Path) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Every call in a file: its line, its dotted name, and its keyword arguments in source form."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            yield node.lineno, ast.unparse(node.func), given


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Every string in a file with its line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def identifiers(path: Path) -> set[str]:
    """The names that a file gives: of itself, its functions, classes, arguments and variables."""
    names = set(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def words(identifier: str) -> set[str]:
    """The words of an identifier: `PoolPredictions` has pool and predictions."""
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")) - {""}
