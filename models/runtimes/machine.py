"""What a measured speed holds for: the processor, its instructions, threads and packages."""

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")
CPUINFO = Path("/proc/cpuinfo")


def machine(threads: int) -> dict[str, Any]:
    """The machine, as far as the speed of a runtime depends on it."""
    name, flags = _cpu()
    return {
        "processor": name,
        "flags": hashlib.sha256(" ".join(flags).encode()).hexdigest()[:12],
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "packages": {package: _version(package) for package in PACKAGES},
    }


def fingerprint(of: Mapping[str, Any]) -> str:
    """A short name of a machine; another processor, thread count or package has another."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:12]


@cache
def _cpu() -> tuple[str, tuple[str, ...]]:
    """The name of the first processor, and its instructions in alphabetical order."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), ()
    fields = [line.partition(":")[::2] for line in lines]
    known = {name.strip(): value.strip() for name, value in reversed(fields)}
    flags = known.get("flags", known.get("Features", ""))
    return known.get("model name", platform.machine()), tuple(sorted(flags.split()))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
