"""What both lock files pin: known vulnerable versions, and a software bill of materials.

`pins.py check` fails on a pin that `.ci/known-vulnerable.toml` names without an allowance.
`pins.py sbom FOLDER` writes a CycloneDX file for each lock, the same one for the same lock.
"""

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ADVISORIES = Path(__file__).with_name("known-vulnerable.toml")
LOCKS = {"requirements.lock": "hone", "requirements-studio.lock": "label-studio-server"}
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)(?: ; (.*?))? \\")
HASH = re.compile(r"    --hash=sha256:([0-9a-f]{64})")


@dataclass
class Pin:
    """One line of a lock, with the digests of the files that it allows."""

    name: str
    version: str
    marker: str | None
    hashes: list[str] = field(default_factory=list)


def read_pins(lock: Path) -> list[Pin]:
    """The pins of a lock file."""
    pins: list[Pin] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if pin := PIN.fullmatch(line):
            pins.append(Pin(canonicalize_name(pin[1]), pin[2], pin[3]))
        elif digest := HASH.match(line):
            pins[-1].hashes.append(digest[1])
        elif line and not line.lstrip().startswith("#"):
            raise ValueError(f"{lock.name} has the line {line!r}, which is no pin with its hashes")
    return pins


def problems(known: dict[str, Any], locks: dict[str, list[Pin]], today: date) -> Iterator[str]:
    """Vulnerable pins without an allowance, and allowances that have ended or allow nothing."""
    allowed = {(canonicalize_name(one["package"]), one["id"]): one for one in known["allowance"]}
    used = set()
    for advisory in known["advisory"]:
        name = canonicalize_name(advisory["package"])
        affected = SpecifierSet(advisory["affected"], prereleases=True)
        for lock, pins in locks.items():
            for pin in pins:
                if pin.name != name or pin.version not in affected:
                    continue
                text = f"{lock}: {name} {pin.version} has {advisory['id']} ({advisory['what']})"
                allowance = allowed.get((name, advisory["id"]))
                used.add((name, advisory["id"]))
                if allowance is None:
                    yield f"{text}; `make lock ARGS=--upgrade-package={name}`, or allow it"
                elif allowance["until"] < today:
                    yield f"{text}; its allowance ended on {allowance['until']}: look again"
    for name, identifier in sorted(set(allowed) - used):
        yield f"the allowance of {name} {identifier} allows nothing that is pinned; remove it"


def bill_of_materials(name: str, pins: list[Pin]) -> dict[str, Any]:
    """The pins as CycloneDX 1.6; each has the digests of all its files."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{pin.name}@{pin.version}",
            "name": pin.name,
            "version": pin.version,
            "purl": f"pkg:pypi/{pin.name}@{pin.version}",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
        }
        | ({"properties": [{"name": "marker", "value": pin.marker}]} if pin.marker else {})
        for pin in pins
    ]
    identity = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{identity}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": name, "name": name}},
        "components": components,
    }


def main(arguments: list[str]) -> int:
    """Run one of the two commands; 1 when the check has something to say."""
    locks = {name: read_pins(ROOT / name) for name in LOCKS}
    if arguments[:1] == ["sbom"]:
        for lock, pins in locks.items():
            path = Path(arguments[1], f"{LOCKS[lock]}.cdx.json")
            path.write_text(json.dumps(bill_of_materials(LOCKS[lock], pins), indent=1))
        return 0
    known = tomllib.loads(ADVISORIES.read_text(encoding="utf-8"))
    lines = list(problems(known, locks, datetime.now(UTC).date()))
    print("\n".join(lines) or f"no pin is among the advisories known on {known['made']}")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
