"""No pin is known to be vulnerable, and each is in the bill of materials with its digests."""

import importlib.util
import json
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.source_code import ROOT

TODAY = date(2026, 11, 29)
LOCKS = ["requirements.lock", "requirements-studio.lock"]


@pytest.fixture(scope="module")
def pins() -> Any:
    """The script of CI, as a module."""
    spec = importlib.util.spec_from_file_location("pins", ROOT / ".ci" / "pins.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pins"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def known(pins: Any) -> dict[str, Any]:
    return tomllib.loads(pins.ADVISORIES.read_text(encoding="utf-8"))


def listed(package: str, affected: str) -> dict[str, str]:
    return {"package": package, "affected": affected, "id": "CVE-1", "what": "harm"}


def allowance(until: date, package: str = "bad-package") -> dict[str, Any]:
    return {"package": package, "id": "CVE-1", "until": until, "why": "not reached"}


def found(pins: Any, advisory: dict[str, Any], *allowances: dict[str, Any]) -> list[str]:
    locks = {"a.lock": [pins.Pin("good", "1.0", None), pins.Pin("bad-package", "2.0rc1", None)]}
    known = {"advisory": [advisory], "allowance": list(allowances)}
    return list(pins.problems(known, locks, TODAY))


def test_both_locks_pass(pins: Any, known: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    assert pins.main(["check"]) == 0
    assert f"known on {known['made']}" in capsys.readouterr().out


@pytest.mark.parametrize("affected", ["<3.0", "==2.0rc1", ">=0"])
@pytest.mark.parametrize("package", ["bad-package", "Bad_Package"])
def test_a_vulnerable_pin_is_named_with_lock_advisory_and_remedy(
    pins: Any, package: str, affected: str
) -> None:
    [problem] = found(pins, listed(package, affected))
    assert problem.startswith("a.lock: bad-package 2.0rc1 has CVE-1 (harm); `make lock ARGS=")


@pytest.mark.parametrize("affected", ["<1.0", ">2.0", "==1.0"])
def test_a_version_outside_the_range_is_not(pins: Any, affected: str) -> None:
    assert found(pins, listed("bad-package", affected)) == []


def test_an_allowance_holds_until_its_day_and_is_reported_afterwards(pins: Any) -> None:
    bad = listed("bad-package", "<3")
    assert found(pins, bad, allowance(TODAY)) == []
    [ended] = found(pins, bad, allowance(date(2026, 11, 28)))
    assert "its allowance ended on 2026-11-28" in ended


@pytest.mark.parametrize("package", ["unknown-package", "good"])
def test_an_allowance_that_allows_nothing_is_reported(pins: Any, package: str) -> None:
    problems = found(pins, listed("bad-package", "<1"), allowance(TODAY, package))
    assert problems == [
        f"the allowance of {package} CVE-1 allows nothing that is pinned; remove it"
    ]


def test_every_entry_of_the_list_can_be_read(known: dict[str, Any]) -> None:
    assert known["made"] <= max(TODAY, date.today())
    for advisory in known["advisory"]:
        assert set(advisory) == {"package", "affected", "id", "what"}
        assert str(SpecifierSet(advisory["affected"]))
    advisories = {(one["package"], one["id"]) for one in known["advisory"]}
    assert len(advisories) == len(known["advisory"])
    for one in known["allowance"]:
        assert set(one) == {"package", "id", "until", "why"}
        assert (one["package"], one["id"]) in advisories


@pytest.mark.parametrize("lock", LOCKS)
def test_the_bill_of_materials_has_every_pin_with_every_digest(
    pins: Any, lock: str, tmp_path: Path
) -> None:
    assert pins.main(["sbom", str(tmp_path)]) == 0
    bill = json.loads((tmp_path / f"{pins.LOCKS[lock]}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pinned = [line.split()[0] for line in lines if line[:1].isalnum()]
    digests = [line.partition("sha256:")[2].rstrip(" \\") for line in lines if "sha256:" in line]
    components = bill["components"]
    assert [f"{one['name']}=={one['version']}" for one in components] == pinned
    hashes = [digest["content"] for one in components for digest in one["hashes"]]
    assert hashes == digests and all(one["hashes"] for one in components)
    references = [one["bom-ref"] for one in components]
    assert len(set(references)) == len(references)
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in components)


def test_a_line_that_is_no_pin_is_an_error(pins: Any, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("good @ https://example.com/good.whl\n")
    with pytest.raises(ValueError, match="is no pin with its hashes"):
        pins.read_pins(tmp_path / "a.lock")


def test_ci_runs_both() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ".ci/pins.py check" in script and '.ci/pins.py sbom "$out"' in script
