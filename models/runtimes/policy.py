"""HONE_RUNTIME: which runtimes may answer."""

from enum import StrEnum


class Policy(StrEnum):
    """The values of HONE_RUNTIME."""

    AUTO = "auto"  # the fastest that agrees
    TORCH = "torch"  # eager, and nothing is measured
    ONNXRUNTIME = "onnxruntime"  # where it agrees, else torch
    OPENVINO = "openvino"

    def allows(self, family: str) -> bool:
        """Whether runtimes of this family are candidates."""
        return self in (Policy.AUTO, family)
