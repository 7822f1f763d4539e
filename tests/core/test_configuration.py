"""Configurations: what is refused, in which words, and what a form is told."""

from dataclasses import FrozenInstanceError, asdict, replace
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, model_validator

from core.configuration import OneOf, configuration, error_text
from core.errors import HoneError

COLOURS = {"red": 1, "blue": 2}


@configuration("paint")
class Paint:
    """How a wall is painted."""

    coats: int = Field(default=2, ge=1, le=5, description="layers of paint")
    share: float = Field(default=0.1, ge=0, lt=1, description="part of the wall")
    chance: float = Field(default=0.1, gt=0, le=0.5, description="of a drip")
    speed: float = Field(default=1.0, gt=0, description="walls an hour", allow_inf_nan=False)
    wet: bool = Field(default=False, description="paint on wet paint")
    name: str = Field(default="red", description="the colour")
    dry_days: int = Field(default=1, ge=0, description="days to wait")

    @model_validator(mode="after")
    def _check_days(self) -> "Paint":
        if self.dry_days > 9 * self.coats:
            raise ValueError(f"dry_days is {self.dry_days} with {self.coats} coats; choose fewer")
        return self


@configuration("brush")
class Brush:
    """What it is painted with."""

    colour: Annotated[str, OneOf(COLOURS)] = Field(default="red", description="of the paint")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"coats": 0}, "paint.coats is 0; choose from 1 to 5 (layers of paint)"),
        ({"coats": 1.5},
         "paint.coats is 1.5; choose a whole number, from 1 to 5 (layers of paint)"),
        ({"coats": "x"},
         "paint.coats is 'x'; choose a whole number, from 1 to 5 (layers of paint)"),
        ({"share": 1}, "paint.share is 1; choose from 0 to below 1 (part of the wall)"),
        ({"share": None},
         "paint.share is None; choose a number, from 0 to below 1 (part of the wall)"),
        ({"chance": 0}, "paint.chance is 0; choose above 0 to 0.5 (of a drip)"),
        ({"speed": 0}, "paint.speed is 0; choose above 0 (walls an hour)"),
        ({"speed": float("inf")}, "paint.speed is inf; choose a number, above 0 (walls an hour)"),
        ({"wet": "maybe"}, "paint.wet is 'maybe'; choose true or false (paint on wet paint)"),
        ({"dry_days": 99}, "paint: dry_days is 99 with 2 coats; choose fewer"),
        (
            {"cotas": 1},
            "paint.cotas is unknown; known: coats, share, chance, speed, wet, name, dry_days",
        ),
    ],
)  # fmt: skip
def test_a_refused_value_is_one_sentence_with_value_bounds_and_help(wrong, sentence):
    with pytest.raises(HoneError) as refused:
        Paint(**wrong)
    assert str(refused.value) == sentence
    with pytest.raises(ValueError) as invalid:
        TypeAdapter(Paint).validate_python(wrong)
    assert error_text(invalid.value) == sentence


def test_a_name_is_one_that_is_registered_now():
    with pytest.raises(HoneError, match=r"brush.colour is 'gold'; choose one of red, blue \(of"):
        Brush("gold")
    assert TypeAdapter(Brush).json_schema()["properties"]["colour"]["enum"] == ["red", "blue"]
    COLOURS["gold"] = 3
    assert Brush("gold").colour == "gold"
    del COLOURS["gold"]


def test_a_form_has_the_bounds_and_shows_them_in_the_help():
    fields = TypeAdapter(Paint).json_schema()["properties"]
    coats = fields["coats"]
    assert (coats["minimum"], coats["maximum"], coats["default"]) == (1, 5, 2)
    assert coats["description"] == "layers of paint (from 1 to 5)"
    assert fields["chance"]["description"] == "of a drip (above 0 to 0.5)"
    assert fields["wet"]["description"] == "paint on wet paint"


def test_it_is_a_frozen_dataclass_whose_copies_are_checked_too():
    assert asdict(replace(Paint(), coats=3))["coats"] == 3
    with pytest.raises(HoneError, match="coats is 7"):
        replace(Paint(), coats=7)
    with pytest.raises(FrozenInstanceError):
        Paint().coats = 3  # type: ignore[misc]


def test_any_other_error_is_its_message_or_its_name():
    assert error_text(OSError("disk full")) == "disk full"
    assert error_text(KeyError()) == "KeyError()"
