"""One class for the whole image: the value is its name, chosen by one control, `Choices`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import pandas as pd

from core.hone_toml import LabelClass
from core.text import listed, short
from labeling.consensus.settle import SettlePolicy, settle
from labeling.kinds.kind import Result, UnusableAnswer

CONTROL, IMAGE = "label", "image"  # names of the two tags in the labelling screen


class Classification:
    """Labels that are one class name."""

    snapshot_columns: Mapping[str, str] = {"label": "string"}
    formats: tuple[str, ...] = ("csv", "coco", "folders", "label-studio")

    def screen(self, classes: Sequence[LabelClass]) -> str:
        """The image, and beside it one choice that must be made.

        Side by side, so that both are in view however small, large, wide or tall the image is.
        """
        view = Element("View", style="display: flex; gap: 16px; align-items: flex-start")
        left = SubElement(view, "View", style="flex: 1 1 auto; min-width: 0")
        SubElement(left, "Image", name=IMAGE, value="$image", zoomControl="true", defaultZoom="fit")
        right = SubElement(
            view, "View", style="flex: 0 0 220px; max-height: 80vh; overflow-y: auto"
        )
        choices = SubElement(
            right,
            "Choices",
            name=CONTROL,
            toName=IMAGE,
            choice="single",
            required="true",
            showInLine="false",
        )
        for known in classes:
            key = {"hotkey": known.hotkey} if known.hotkey else {}
            hint = {"hint": known.hint} if known.hint else {}
            SubElement(choices, "Choice", {"value": known.name, **key, **hint})
        return tostring(view, encoding="unicode")

    def classes_on_screen(self, controls: Mapping[str, Any]) -> set[str]:
        """The names offered by our control; none where the screen has no such control."""
        return set(controls.get(CONTROL, {}).get("labels", []))

    def result_of(self, value: str) -> Result:
        """One region in which the class is chosen."""
        return [
            {
                "from_name": CONTROL,
                "to_name": IMAGE,
                "type": "choices",
                "value": {"choices": [value]},
            }
        ]

    def value_of(self, result: object, classes: Collection[str]) -> str:
        """The one class chosen on our screen; anything else is an `UnusableAnswer`.

        The server takes any result from anybody with a token, so nothing about it is certain.
        """
        if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
            raise UnusableAnswer(
                "MALFORMED", f"the result is {short(result)}, not a list of objects"
            )
        for part in result:
            control = (part.get("from_name"), part.get("type"))
            if control != (CONTROL, "choices"):
                raise UnusableAnswer(
                    "WRONG_CONTROL", f"{short(control)} is not the choices named {CONTROL!r}"
                )
        for value in (part.get("value") for part in result):
            if not isinstance(value, Mapping) or not isinstance(value.get("choices"), list):
                raise UnusableAnswer("MALFORMED", f"{short(value)} has no list of choices")
        names = [name for part in result for name in _names(part)]
        if not names:
            raise UnusableAnswer("EMPTY", "nothing was chosen")
        if len(names) > 1:
            raise UnusableAnswer("TWO_CHOICES", f"{short(names)} were chosen, one is asked for")
        if not isinstance(names[0], str) or names[0] not in classes:
            known = ", ".join(classes)
            raise UnusableAnswer(
                "UNKNOWN_CLASS", f"{short(names[0])} is none of the classes {known}"
            )
        return names[0]

    def value_of_export(self, result: object) -> str:
        """The one name chosen by whichever control; nothing or several are an `UnusableAnswer`."""
        names = _exported_names(result)
        texts = (name if isinstance(name, str) else short(name) for name in names)
        distinct = list(dict.fromkeys(texts))
        if len(distinct) > 1:
            chosen = listed([short(name) for name in distinct])
            raise UnusableAnswer(
                "TWO_CHOICES",
                f"{chosen} were chosen; one image has one class here: keep one of them, or cut the "
                "image in parts",
            )
        if not names or not isinstance(names[0], str):
            raise UnusableAnswer(
                "NO_CHOICE",
                f"{short(names)} was chosen; one name from Choices is a label, no other control is",
            )
        return names[0]

    def classes_in(self, result: object) -> set[str]:
        """Every name chosen in any region."""
        parts = result if isinstance(result, list) else []
        names = (name for part in parts if isinstance(part, Mapping) for name in _names(part))
        return {name for name in names if isinstance(name, str)}

    def classes_of(self, value: str) -> set[str]:
        """The value itself."""
        return {value}

    def snapshot_values(self, value: str) -> Mapping[str, object]:
        """The class name in the one column."""
        return {"label": value}

    def resolve(
        self,
        answers: pd.DataFrame,
        policy: SettlePolicy,
        *,
        classes: Sequence[str] | None = None,
        probs: pd.DataFrame | None = None,
        gold: pd.Series | None = None,
    ) -> pd.DataFrame:
        """The class of each sample by the policy's consensus method."""
        return settle(answers, policy, classes=classes, probs=probs, gold=gold)

    def agreement(self, one: str, other: str) -> float:
        """1 for the same class, else 0."""
        return float(one == other)


def _names(part: Mapping[str, Any]) -> list[Any]:
    value = part.get("value")
    names = value.get("choices") if isinstance(value, Mapping) else None
    return names if isinstance(names, list) else []


def _exported_names(result: object) -> list[Any]:
    """Every name chosen in regions, or in what JSON-MIN has in their place.

    That is a name, an object with the list `choices`, or a list of these.
    """
    names: list[Any] = []
    for part in result if isinstance(result, list) else [result]:
        if not isinstance(part, dict):
            names.append(part)
            continue
        value = part if "choices" in part else part.get("value")
        chosen = value.get("choices", []) if isinstance(value, dict) else []
        if not isinstance(chosen, list):
            raise UnusableAnswer("MALFORMED", f"choices is {short(chosen)}; a list is needed")
        names += chosen
    return names
