"""The images: small, pinned, of a user without rights, and with a health check."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.source_code import ROOT

OF_BENTO = "models/serving/Dockerfile.bento"
IMAGES = ["Dockerfile", OF_BENTO]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
HADOLINT = Path(sys.executable).with_name("hadolint")
WITHOUT_DIGESTS = {"torch", "torchvision"}  # one for processors, one for each kind of GPU


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(lock: str) -> set[tuple[str, str]]:
    """Name and version of each line; a package may have one for each version of Python."""
    return set(PIN.findall(text_of(lock)))


def lint(file: Path) -> str:
    """What hadolint says of a Dockerfile; nothing of a good one."""
    done = subprocess.run([HADOLINT, str(file)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_nothing_to_say(image: str) -> None:
    assert lint(ROOT / image) == ""


def test_hadolint_would_say_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install uv\n")
    assert "DL3013" in lint(tmp_path / "Dockerfile")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_no_tools_of_its_build_and_no_root(image: str) -> None:
    build, final = re.split(r"^FROM ", text_of(image), flags=re.MULTILINE)[1:]
    assert "pip install" in build and "pip install" not in final
    [user] = re.findall(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert user == ("1034", "1034")  # a number: Kubernetes knows that it is not root
    [uv] = re.findall(r"pip install --no-cache-dir uv==(\S+)", build)
    assert ("uv", uv) in pins("requirements.lock")


def test_the_image_of_a_bento_checks_its_health() -> None:
    image = text_of(OF_BENTO)
    assert re.search(r"^HEALTHCHECK .*\n.*127\.0\.0\.1:3000/livez", image, re.MULTILINE)
    assert "EXPOSE 3000" in image and "BENTOML_HOST=0.0.0.0" in image
    assert yaml.safe_load(text_of("bentofile.yaml"))["docker"]["dockerfile_template"] == OF_BENTO


def test_a_bento_installs_versions_of_the_lock_that_the_tests_ran_with() -> None:
    served = pins("requirements-serve.lock")
    assert served - pins("requirements.lock") == set()
    project = tomllib.loads(text_of("pyproject.toml"))
    versions = dict(served)
    for line in project["dependency-groups"]["serve"]:
        wanted = Requirement(line)
        assert Version(versions[wanted.name]) in wanted.specifier, line
    ours = {Requirement(line).name: line for line in project["project"]["dependencies"]}
    for line in project["dependency-groups"]["serve"]:
        name = Requirement(line).name
        if name in ours:  # the same bounds, so that one of them is not forgotten
            assert Requirement(line) == Requirement(ours[name])


def test_each_pin_of_a_bento_has_digests_but_those_of_pytorch() -> None:
    pinned = re.split(r"^(?=[A-Za-z0-9])", text_of("requirements-serve.lock"), flags=re.MULTILINE)
    without = {pin.partition("==")[0] for pin in pinned[1:] if "--hash=sha256:" not in pin}
    assert without == WITHOUT_DIGESTS
    assert not [pin for pin in pinned if pin.startswith(("nvidia-cu", "triton", "cuda-"))]


def test_hones_image_has_the_code_and_nothing_else() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text_of("Dockerfile"), re.MULTILINE)
        for source in line.split()
    }
    assert all((ROOT / source).exists() for source in copied)
    assert "--requirement pyproject.toml --extra fast" in text_of("Dockerfile")  # every runtime
    assert "pyproject.toml" in copied  # its version is the code's, if no commit was stated
    final = text_of("Dockerfile").split("\nFROM ")[-1]
    assert "\nARG HONE_COMMIT\nENV HONE_COMMIT=$HONE_COMMIT\n" in final
    assert {"core", "labeling", "models", "tasks", "flows", "settings.py", "prefect.yaml"} <= copied
    allowed = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    assert allowed == copied
