"""The required metadata of a model, stored with its weights and in the database."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from core.text import short
from models.kinds import DEFAULT, KINDS, Kind

OPTIONAL: dict[str, Any] = {
    "kind": DEFAULT,
    "teacher": None,
    "pretrained": None,
    "recipe": {},
    "pool": None,
}  # of cards that older versions of Hone wrote
REMOVED = {"parent"}  # always null in those cards
TABLES = {"network", "train", "metrics", "recipe"}  # fields that hold names with values


@dataclass(frozen=True)
class ModelCard:
    """The metadata of a model: its classes, how it was trained, its metrics."""

    classes: tuple[str, ...]
    image_size: int
    network: dict[str, Any]  # NetworkConfig
    snapshot: str
    code_commit: str
    seed: int
    train: dict[str, Any]  # TrainConfig
    strategy: str  # that chose the labels
    metrics: dict[str, Any]
    created_at: str
    kind: str = DEFAULT
    teacher: str | None = None  # the version whose outputs it learnt from, beside labels
    pretrained: str | None = None  # the weights that its training began with, and their licence
    recipe: dict[str, Any] = field(default_factory=dict)  # what was tuned, how, and why
    pool: str | None = None  # what of the unlabelled pool it learnt from, and why

    def __post_init__(self) -> None:
        for name in ("snapshot", "code_commit", "strategy", "created_at"):
            if not getattr(self, name):
                raise ValueError(
                    f"a model card needs {name}; it is empty: state where the model came from"
                )
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a model card's classes are {self.classes}: two or more, each once")
        if self.kind not in KINDS:
            raise ValueError(f"a model card's kind is {self.kind!r}; known: {', '.join(KINDS)}")
        object.__setattr__(self, "classes", tuple(self.classes))

    def to_json(self) -> str:
        """The card as JSON; a metric that is not a finite number is null."""
        return json.dumps(json_value(asdict(self)), indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelCard":
        """The card in `text`; a missing or unknown field is an error that names it."""
        try:
            written = json.loads(text)
            classes = written["classes"]
            if not all(isinstance(name, str) for name in classes):
                raise TypeError(f"its classes are {short(classes)}")
            for name in TABLES & written.keys():
                if not isinstance(written[name], dict):
                    raise TypeError(f"its {name} is {short(written[name])}, no table")
            if not isinstance(written.get("kind", DEFAULT), str):
                raise TypeError(f"its kind is {short(written['kind'])}, no name")
            for name, what in (("teacher", "version"), ("pool", "text"), ("pretrained", "text")):
                if not isinstance(written.get(name), str | None):
                    raise TypeError(f"its {name} is {short(written[name])}, no {what}")
            json_value(written)  # nested so deeply that it could not be written again: refused
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(f"model card: it is damaged: {error}; restore it") from error
        stored = OPTIONAL | written
        stored = {name: value for name, value in stored.items() if name not in REMOVED}
        known = {one.name for one in fields(cls)}
        if set(stored) != known:
            raise ValueError(f"model card: {sorted(set(stored) ^ known)} are missing or unknown")
        return cls(**{**stored, "classes": tuple(classes)})

    @property
    def label_kind(self) -> Kind:
        """The label kind of the model."""
        return KINDS[self.kind]


def json_value(value: Any) -> Any:
    """`value` in JSON's types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return json_value(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
