"""Configuration: frozen dataclasses that check their values, with bounds and help in each field.

`@configuration("selection")` makes a pydantic dataclass. Its fields are written as
`size: int = Field(default=50, ge=1, description="samples in the batch")`: Prefect's form shows
bounds and help, and what is refused is a HoneError with one sentence for each value.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast, dataclass_transform

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from core.errors import HoneError

T = TypeVar("T")

CONFIGURATIONS: dict[str, type] = {}  # section -> its dataclass


@dataclass_transform(frozen_default=True, field_specifiers=(Field, dataclasses.field))
def configuration(section: str) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen pydantic dataclass that refuses unknown names, known as `section`."""

    def make(cls: type[T]) -> type[T]:
        strict = ConfigDict(extra="forbid", title=section, json_schema_extra=_show_bounds)
        made: Any = pydantic_dataclass(frozen=True, config=strict)(cls)
        made.__init__ = _with_sentences(made.__init__)
        CONFIGURATIONS[section] = made
        return cast(type[T], made)

    return make


def fields_of(section: str | type) -> dict[str, FieldInfo]:
    """The fields of a configuration, by name, with default, bounds and description."""
    cls: Any = CONFIGURATIONS[section] if isinstance(section, str) else section
    return dict(cls.__pydantic_fields__)


def values_of(configuration: Any) -> dict[str, Any]:
    """The values of a configuration as JSON has them, to compare with what was recorded."""
    values: dict[str, Any] = to_jsonable_python(dataclasses.asdict(configuration))
    return values


class OneOf:
    """A name out of a registry: checked against what is registered when the value is set."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = names

    def __get_pydantic_core_schema__(
        self, source: object, build: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The schema of the text, followed by the check."""
        return core_schema.no_info_after_validator_function(self._check, build(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, build: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The names as choices, so that a form offers them."""
        return {**build(schema), "enum": list(self.names)}

    def _check(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(f"choose one of {', '.join(self.names)}")
        return name


def error_text(error: BaseException) -> str:
    """The message of an error; a refused configuration gets a sentence for each refused value.

    Prefect wraps the errors of a flow's parameters: the wrapped error is read then.
    """
    refused = error if isinstance(error, ValidationError) else error.__context__
    if isinstance(refused, ValidationError):
        return "\n".join(refused_values(refused))
    return str(error) or repr(error)


def refused_values(error: ValidationError, where: str = "") -> list[str]:
    """One sentence for each refused value, such as "selection.size is 0; choose 1 or more (...)".

    `where` comes before the name: the file that holds the value.
    """
    return [f"{where}{_sentence(error.title, row)}" for row in error.errors(include_url=False)]


def _sentence(title: str, row: Mapping[str, Any]) -> str:
    path = [str(part) for part in row["loc"]]
    if title in CONFIGURATIONS:
        if row["loc"] and isinstance(row["loc"][0], int):  # given by position
            path[0] = list(fields_of(title))[row["loc"][0]]
        path = [title, *path]
    section = path[0] if path and path[0] in CONFIGURATIONS else None
    known = fields_of(section) if section else {}
    name = ".".join(path) or title
    if row["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is unknown; known: {', '.join(known)}"
    field = known.get(path[1]) if len(path) > 1 else None
    if section and field is None:
        return f"{name}: {_reason(row)}"
    help_text = f" ({field.description})" if field and field.description else ""
    outer = field if len(path) == 2 else None  # the bounds of a list are not those of what it holds
    return f"{name} is {row['input']!r}; {_remedy(row, outer)}{help_text}"


def _remedy(row: Mapping[str, Any], field: FieldInfo | None) -> str:
    error_type, context = str(row["type"]), row.get("ctx", {})
    limits = dict(context)
    for limit in field.metadata if field else ():
        for kind, bound in (("ge", Ge), ("gt", Gt), ("le", Le), ("lt", Lt)):
            if isinstance(limit, bound):
                limits[kind] = getattr(limit, kind)
    range_ = _range(limits)
    if error_type.startswith("int_"):
        return f"choose a whole number{range_ and ', ' + range_}"
    if error_type.startswith(("float_", "finite_")):
        return f"choose a number{range_ and ', ' + range_}"
    if error_type.startswith("bool_"):
        return "choose true or false"
    if error_type in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"choose {range_}"
    if error_type == "literal_error":
        return f"choose {context['expected']}"
    return _reason(row)


def _reason(row: Mapping[str, Any]) -> str:
    """What a validator of ours says, else pydantic's own message."""
    return str(row["ctx"]["error"]) if row["type"] == "value_error" else str(row["msg"])


def _range(limits: Mapping[str, float]) -> str:
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is None and high is None:
        return ""
    if high is None:
        return f"{low:g} or more" if "ge" in limits else f"above {low:g}"
    below = f"{high:g}" if "le" in limits else f"below {high:g}"
    if low is None:
        return f"at most {high:g}" if "le" in limits else below
    return f"{'from' if 'ge' in limits else 'above'} {low:g} to {below}"


def _show_bounds(schema: dict[str, Any]) -> None:
    """Add the bounds to the help of each field: the form checks them but does not show them."""
    names = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
    for field in schema.get("properties", {}).values():
        bounds = _range({ours: field[theirs] for theirs, ours in names.items() if theirs in field})
        if bounds and "description" in field:
            field["description"] += f" ({bounds})"


def _with_sentences(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        try:
            init(self, *args, **kwargs)
        except ValidationError as error:
            raise HoneError("\n".join(refused_values(error))) from None

    return checked
