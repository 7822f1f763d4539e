"""What the plan of the house promises about the code, read from the code itself."""

import ast
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"core": 0, "labeling": 1, "models": 1, "tasks": 2, "flows": 3}
SOURCES = [*(path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))),
           ROOT / "settings.py"]  # fmt: skip
READS_SETTINGS = {"flows/cli/__init__.py", "models/serving/service.py"}  # and everything in tasks/
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
BANNED_WORDS = {"item", "info", "manager", "handler", "helper", "processor", "util", "utils"}
GIVEN_NAMES = {"to_info", "from_info", "info"}  # BentoML's, of methods we override
CODE_IN_DATA = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HEAVY = {"torch", "torchvision", "wandb", "bentoml", "alibi_detect", "label_studio_sdk", "dvc",
         "prefect", "pandas", "sklearn", "matplotlib", "transformers", "cv2"}  # fmt: skip

# Modules that no test imports, and where they are tested instead. Flows and tasks only put others
# together: tests/system runs them.
TESTED_ELSEWHERE = {
    "core/migrations/env.py": "tests/core/test_database.py",
    "core/migrations/versions": "tests/core/test_database.py",
    "flows": "tests/system",
    "tasks": "tests/system",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


sources = pytest.mark.parametrize("path", SOURCES, ids=name_of)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: a relative import hides where it leads"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def calls(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every call in a file as its dotted name and its keyword arguments, in source form."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            yield ast.unparse(node.func), given


@sources
def test_imports_run_one_way(path):
    mine = name_of(path).split("/")[0]
    for module in imported(path):
        theirs = module.split(".")[0]
        if theirs in FLOORS and theirs != mine:
            assert mine in FLOORS, f"{name_of(path)} imports {module}"
            assert FLOORS[theirs] < FLOORS[mine], f"{name_of(path)} imports {module}"


@sources
def test_only_flows_and_tasks_import_prefect(path):
    if name_of(path).split("/")[0] not in ("flows", "tasks"):
        assert "prefect" not in {module.split(".")[0] for module in imported(path)}


@sources
def test_only_tasks_the_command_line_and_the_service_read_settings(path):
    if "settings" in set(imported(path)):
        assert name_of(path).startswith("tasks/") or name_of(path) in READS_SETTINGS


@sources
def test_names_say_what_a_thing_is(path):
    assert path.stem not in BANNED_MODULES
    named = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name).lower() for node in named]
    for function in functions(path):
        words += [function.name, *(argument.arg for argument in function.args.args)]
    for word in words:
        assert word != "data"
        if word not in GIVEN_NAMES:
            assert not BANNED_WORDS & set(word.split("_")), f"{name_of(path)}: {word}"


@sources
def test_a_module_has_one_idea_and_a_function_one_screen(path):
    if "migrations/versions" in name_of(path):
        return  # a migration is written once, as a list
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    long = {node.name: length(node) for node in functions(path) if length(node) > 50}
    assert not long


def test_nine_functions_in_ten_are_short():
    written = [path for path in SOURCES if "migrations" not in name_of(path)]
    lengths = [length(node) for path in written for node in functions(path)]
    assert statistics.quantiles(lengths, n=10)[-1] <= 25
    assert statistics.median(lengths) <= 12


@sources
def test_every_module_and_public_function_says_what_comes_back(path):
    assert ast.get_docstring(tree_of(path)) or "migrations/versions" in name_of(path)
    top = [node for node in tree_of(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in top:
        if not node.name.startswith("_") and "migrations/versions" not in name_of(path):
            assert ast.get_docstring(node), f"{name_of(path)}: {node.name} has no docstring"


@sources
def test_data_is_never_run_as_code(path):
    modules = set(imported(path))
    assert not CODE_IN_DATA & {module.split(".")[0] for module in modules}
    assert not [module for module in modules if module.startswith("pickle.")]
    for called, given in calls(path):
        where = f"{name_of(path)}: {called}"
        assert called not in ("eval", "exec", "__import__", "os.system", "os.popen"), where
        assert called != "yaml.load", f"{where}: use yaml.safe_load"
        assert not called.endswith("load_detector"), where
        assert called not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), where
        if called == "torch.load":
            assert given.get("weights_only") == "True", where
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("shell", "False") == "False", where


@sources
def test_no_failure_is_passed_over_in_silence(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(step, ast.Pass) for step in node.body)
            assert not silent, f"{name_of(path)}:{node.lineno}"
            assert node.type is not None, f"{name_of(path)}:{node.lineno} catches everything"


@cache
def imported_by_tests() -> set[str]:
    return {module for path in (ROOT / "tests").rglob("*.py") for module in imported(path)}


@sources
def test_every_module_has_its_tests(path):
    if any(name_of(path).startswith(place) for place in TESTED_ELSEWHERE):
        return
    module = name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    mirror = ROOT / "tests" / Path(name_of(path)).with_name(f"test_{path.name}")
    assert mirror.is_file() or module in imported_by_tests() or path.name == "__init__.py"


def test_help_answers_without_importing_what_takes_seconds():
    script = """
import json, runpy, sys
sys.argv = ["hone", "--help"]
try:
    runpy.run_module("flows", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
    assert "Usage" in done.stdout


def test_every_command_is_in_the_readme():
    import typer.main

    from flows.cli import app

    command = typer.main.get_command(app)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in command.commands if not re.search(rf"(hone|make) {name}\b", readme)]
    assert missing == []


def test_every_setting_is_in_the_example_and_nothing_else():
    from settings import Settings

    listed = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(field.alias for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-studio.lock"])
def test_a_lock_has_hashes_and_names_no_registry(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert not [line for line in lines if "://" in line or line.startswith("--")]


def test_every_deployment_names_a_flow_that_exists():
    import yaml

    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, _, function = deployment["entrypoint"].partition(":")
        assert function in {node.name for node in functions(ROOT / file)}, deployment["name"]


def test_the_ci_script_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(("forbidden", "code"), [("", 0), ("1", 1)])
def test_a_skipped_test_fails_where_skips_are_forbidden(tmp_path, forbidden, code):
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"HONE_NO_SKIPS": forbidden}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
