"""The bento packs what serving imports and no more: no trainer, no judge, no pretraining."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bentoml._internal.bento.build_config import BentoPathSpec
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
OURS = ("core", "models", "settings")
NOT_SERVED = (
    "models.training",
    "models.pretraining",
    "models.judging",
    "labeling",
    "tasks",
    "flows",
)
# Packages that are imported under another name than they are installed under.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "prometheus_client": "prometheus-client",
    "pydantic_settings": "pydantic-settings",
    "python_multipart": "python-multipart",
}
# They come with the packages that the bento names, or with BentoML itself.
IMPLIED = {
    "bentoml", "_bentoml_sdk", "click", "starlette", "pydantic", "pydantic_core",
    "annotated_types", "botocore", "uvicorn", "h11",
}  # fmt: skip
# Faster decoding, and runtimes, where they are installed; a build adds what was chosen.
OPTIONAL = {"simplejpeg", "onnx", "onnxruntime", "openvino"}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that code imports when it runs, lazily or not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module)
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not is_type_checking(child):
            yield from imports(child)


def file_of(module: str) -> Path | None:
    """The file of one of our modules."""
    path = ROOT.joinpath(*module.split("."))
    if module.split(".")[0] not in OURS:
        return None
    candidates = path.with_suffix(".py"), path / "__init__.py"
    return next((file for file in candidates if file.is_file()), None)


def closure(start: str) -> tuple[set[str], set[str]]:
    """The files that importing and running `start` needs, and the packages they import."""
    files: set[str] = set()
    packages: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module.split(".")[0] not in OURS:
            packages.add(module.split(".")[0])
        file = file_of(module)
        if file is None or file.relative_to(ROOT).as_posix() in files:
            continue
        files.add(file.relative_to(ROOT).as_posix())
        parts = module.split(".")
        waiting += [".".join(parts[:end]) for end in range(1, len(parts))]
        waiting += imports(ast.parse(file.read_text(encoding="utf-8")))
    return files, packages - set(sys.stdlib_module_names)


@pytest.fixture(scope="module")
def bentofile() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8")))


def test_serving_imports_nothing_that_trains_or_judges() -> None:
    script = "import json, sys, models.serving.service; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert [name for name in loaded if name.startswith(NOT_SERVED)] == []
    assert "models.scoring.predict" in loaded


def test_the_bento_packs_exactly_what_serving_imports(bentofile: dict[str, Any]) -> None:
    patterns = BentoPathSpec(bentofile["include"], exclude=[])
    packed = {
        file.relative_to(ROOT).as_posix()
        for folder in (*OURS[:2], "labeling", "tasks", "flows", "tests", "benchmarks")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    } | {"settings.py", "pyproject.toml", "prefect.yaml"}
    packed = {file for file in packed if patterns.includes(file)}
    assert packed == closure("models.serving.service")[0]


def test_the_bento_installs_every_package_that_serving_imports(bentofile: dict[str, Any]) -> None:
    assert bentofile["python"]["requirements_txt"] == "requirements-serve.lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {Requirement(line).name for line in project["dependency-groups"]["serve"]}
    _, imported = closure("models.serving.service")
    assert {DISTRIBUTIONS.get(name, name) for name in imported} - IMPLIED - OPTIONAL <= named
