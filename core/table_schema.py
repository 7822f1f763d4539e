"""What a table promises to whoever gets it: its columns, their types, its key.

A DataFrame that crosses packages is checked once, where it is made: `LABELS.check(frame)`. What
is checked there need not be looked at again by those who use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_float_dtype, is_integer_dtype

from core.text import listed


class Type(StrEnum):
    """What a column holds; `OPTIONAL_` ones may have missing values."""

    TEXT = "text"
    OPTIONAL_TEXT = "text or missing"
    INTEGER = "whole numbers"
    NUMBER = "numbers"
    OPTIONAL_NUMBER = "numbers or missing"  # whole ones too: a missing one makes them floats
    BOOLEAN = "true or false"
    OBJECT = "objects"  # lists, dictionaries, bytes; not looked into
    OPTIONAL_OBJECT = "objects or missing"

    @property
    def is_optional(self) -> bool:
        """Whether values may be missing."""
        return self.name.startswith("OPTIONAL")


_DTYPES: dict[Type, Any] = {
    Type.INTEGER: "int64",
    Type.NUMBER: "float64",
    Type.OPTIONAL_NUMBER: "float64",
    Type.BOOLEAN: "bool",
}


@dataclass(frozen=True)
class Schema:
    """The columns of a table by name and type, in their order, and the columns of its key."""

    name: str
    columns: Mapping[str, Type]
    key: tuple[str, ...] = ()

    def check(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with exactly these columns, in their order; a ValueError names what differs.

        A column that is empty or wholly missing has no type of its own and is given the declared
        one, and so are numbers that a database handed over as objects. Nothing else is converted.
        """
        if problems := [*self._wrong_names(table)]:
            raise ValueError(f"the table {self.name!r} {' and '.join(problems)}")
        checked = pd.DataFrame(
            {name: self._checked(table[name], kind) for name, kind in self.columns.items()},
            index=table.index,
        )
        if self.key and (doubled := checked.duplicated([*self.key])).any():
            first = checked.loc[doubled, [*self.key]].iloc[0].to_dict()
            raise ValueError(f"the table {self.name!r} has two rows with the key {first}")
        return checked

    def empty(self) -> pd.DataFrame:
        """A table without rows."""
        return self.check(pd.DataFrame(columns=list(self.columns), dtype=object))

    def _wrong_names(self, table: pd.DataFrame) -> Iterator[str]:
        there = [str(name) for name in table.columns]
        if missing := [name for name in self.columns if name not in there]:
            yield f"lacks {listed(missing)}"
        if unknown := [name for name in there if name not in self.columns]:
            yield f"has {listed(unknown)}, not declared"
        if doubled := sorted({name for name in there if there.count(name) > 1}):
            yield f"has {listed(doubled)} more than once"

    def _checked(self, column: pd.Series, kind: Type) -> pd.Series:
        """The column in the dtype of its type."""
        is_missing = column.isna()
        if not kind.is_optional and is_missing.any():
            raise ValueError(
                f"the column {column.name!r} of the table {self.name!r} has {is_missing.sum()} "
                f"missing values of {len(column)}; {kind} expected"
            )
        if not (is_missing.all() or _holds(column, kind)):
            raise ValueError(
                f"the column {column.name!r} of the table {self.name!r} has {_contents(column)}; "
                f"{kind} expected"
            )
        dtype = _DTYPES.get(kind)
        return column if dtype is None or column.dtype == dtype else column.astype(dtype)


def _holds(column: pd.Series, kind: Type) -> bool:
    """Whether the values that are there are of this type."""
    if kind in (Type.OBJECT, Type.OPTIONAL_OBJECT):
        return bool(column.dtype == object)
    inferred = infer_dtype(column, skipna=True)
    if kind in (Type.TEXT, Type.OPTIONAL_TEXT):
        return inferred == "string"
    if kind is Type.BOOLEAN:
        return is_bool_dtype(column) or inferred == "boolean"
    if kind is Type.INTEGER:
        return is_integer_dtype(column) or inferred == "integer"
    is_number = is_float_dtype(column) or is_integer_dtype(column)
    return is_number or inferred in ("floating", "integer", "mixed-integer-float")


def _contents(column: pd.Series) -> str:
    """The dtype, and of objects what they are."""
    inferred = infer_dtype(column, skipna=True)
    return str(column.dtype) if column.dtype != object else f"object ({inferred})"
