"""KINDS: every kind of label by the name that `kind` has in `hone.toml`."""

from labeling.kinds.classification import Classification
from labeling.kinds.kind import Kind, UnusableAnswer

KINDS: dict[str, Kind] = {"classification": Classification()}

__all__ = ["KINDS", "Kind", "UnusableAnswer"]
