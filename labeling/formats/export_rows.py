"""A snapshot on its way out, as every writer gets it."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labeling.kinds import Kind


@dataclass(frozen=True)
class Export:
    """The rows of a snapshot on their way out; `image` is where each one's image belongs."""

    name: str
    rows: pd.DataFrame
    classes: list[str]
    kind: Kind


def as_json(value: Any) -> str:
    """JSON as other programs read it: characters as they are, no NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
