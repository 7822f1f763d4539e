"""KINDS: every kind of label by the name that `kind` has in `hone.toml`."""

from core.hone_toml import LABEL_KINDS
from labeling.kinds.classification import Classification
from labeling.kinds.kind import Kind, UnusableAnswer

KINDS: dict[str, Kind] = {"classification": Classification()}
DEFAULT = LABEL_KINDS[0]

__all__ = ["DEFAULT", "KINDS", "Kind", "UnusableAnswer"]
