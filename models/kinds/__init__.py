"""KINDS: what depends on the label kind in models: head, loss, outputs, credit, served JSON."""

from models.kinds.classification import Classification
from models.kinds.kind import Kind

DEFAULT = "classification"  # of models and workspaces that name no kind
KINDS: dict[str, Kind] = {"classification": Classification()}

__all__ = ["DEFAULT", "KINDS", "Classification", "Kind"]
