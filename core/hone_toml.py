"""`hone.toml`: what a workspace is, and the policies that decide for every caller alike."""

import json
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import HoneError
from core.text import CONTROLS, short

HOTKEYS = "1234567890qwertyuiopasdfghjklzxcvbnm"
LABEL_KINDS = ("classification",)  # KINDS of labeling and of models have each
POLICIES = (
    "settling",
    "snapshot",
    "train",
    "audit",
    "gate",
    "release",
    "watch",
    "review",
    "retention",
)  # sections; `tasks.policies` reads them
KEYS = ("title", "purpose", "kind", "image_size", "price", "class", *POLICIES)
FORMER = {  # keys of older versions, and what to do with them
    "soft": '[soft] is gone: write [train] with pool = "auto" or "off" in its place',
}
HIGHEST_PRICE = 1e12
NAME_LENGTH = 1000  # characters of a class name
LONGEST_COMPOSED = 4 * NAME_LENGTH  # characters of a name before its accents are composed
NO_XML = set("\ufffe\uffff")  # Label Studio gets the classes in XML
HEADER = """\
# What this workspace is. Every command, deployment and report reads this file.
"""
POLICIES_HEADER = """
# What decides, for every caller alike. A line after # has the default: take the # away to set it.
# A change is recorded, and the next collect, import, retrain or watch prints what it changes.
"""


@dataclass(frozen=True)
class LabelClass:
    """One class people choose from: its name, its key in Label Studio, one line about it."""

    name: str
    hotkey: str
    hint: str = ""


@dataclass(frozen=True)
class HoneToml:
    """The content of `hone.toml`, checked but for the policies, which stay as they are written."""

    title: str
    purpose: str
    classes: tuple[LabelClass, ...]
    image_size: int
    price: float | None = None  # of one label, in whatever money one counts in
    kind: str = LABEL_KINDS[0]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


def parse_hone_toml(text: str, config: Path) -> HoneToml:
    """The content of the file `config`; an unknown key or an unsound value is an error."""
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise HoneError(f"{config}: it is nested too deeply; hone.toml has tables only") from error
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise HoneError(f"{config}: {error}") from error
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        if unknown[0] in FORMER:
            raise HoneError(f"{config}: {FORMER[unknown[0]]}")
        raise HoneError(f"{config}: unknown key {short(unknown[0])}; known: {', '.join(KEYS)}")
    size, kind = table.get("image_size", 224), table.get("kind", LABEL_KINDS[0])
    if type(size) is not int or not 8 <= size <= 1024:
        raise HoneError(
            f"{config}: image_size is {short(size)}; choose a whole number from 8 to 1024"
        )
    if kind not in LABEL_KINDS:
        raise HoneError(f"{config}: kind is {short(kind)}; choose one of {', '.join(LABEL_KINDS)}")
    return HoneToml(
        title=_text(table, "title", config.parent.name, config),
        purpose=_text(table, "purpose", "", config),
        classes=_classes(table.get("class", []), config),
        image_size=size,
        price=_price(table.get("price"), config),
        kind=kind,
        policies={name: _section(table[name], name, config) for name in POLICIES if name in table},
    )


def hone_toml_text(
    classes: Sequence[str], *, title: str, purpose: str, image_size: int, policies: str = ""
) -> str:
    """The text of a new `hone.toml`; a JSON string is a TOML string too."""
    lines = [f"title = {_quoted(title)}  # what annotators see", f"purpose = {_quoted(purpose)}"]
    lines.append(f"kind = {_quoted(LABEL_KINDS[0])}  # of labels")
    lines.append(f"image_size = {image_size}  # images are scaled to this many pixels on each side")
    lines.append("# price = 0.05  # of one label, for `hone budget`; in any money")
    for name, hotkey in zip(classes, default_hotkeys(classes), strict=True):
        lines += ["", "[[class]]", f"name = {_quoted(name)}", f"hotkey = {_quoted(hotkey)}"]
        lines.append('hint = ""  # one line that annotators read')
    return HEADER + "\n".join(lines) + "\n" + (policies and POLICIES_HEADER + policies)


def default_hotkeys(names: Sequence[str], *, reserved: Collection[str] = ()) -> list[str]:
    """A key for each class, no two alike and none `reserved`; empty once the keys run out.

    A class named by one character has that character ("0" ... "9", "a"), the others the next key
    that is left.
    """
    free = [key for key in HOTKEYS if key not in reserved]
    keys: dict[int, str] = {}
    for number, name in enumerate(names):
        if name.lower() in free:
            keys[number] = name.lower()
            free.remove(name.lower())
    remaining = iter(free)
    return [keys.get(number) or next(remaining, "") for number in range(len(names))]


def _section(table: object, name: str, config: Path) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise HoneError(
            f"{config}: {name} is {short(table)}; write a table, [{name}] and a line for each"
        )
    return table


def _price(price: object, config: Path) -> float | None:
    if price is None:
        return None
    if (
        isinstance(price, bool)
        or not isinstance(price, int | float)
        or not 0 <= price < HIGHEST_PRICE
    ):
        raise HoneError(
            f"{config}: price is {short(price)}; a number such as 0.05 is needed, or none"
        )
    return float(price)


def _classes(rows: Any, config: Path) -> tuple[LabelClass, ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HoneError(
            f"{config}: class is {short(rows)}; write a [[class]] table for each, with a name"
        )
    names = [_text(row, "name", "", config) for row in rows]
    hints = [_text(row, "hint", "", config) for row in rows]
    explicit = {_text(row, "hotkey", "", config) for row in rows if "hotkey" in row}
    without = [name for name, row in zip(names, rows, strict=True) if "hotkey" not in row]
    usual = iter(default_hotkeys(without, reserved=explicit))
    keys = [str(row["hotkey"]) if "hotkey" in row else next(usual) for row in rows]
    if len(names) < 2 or not all(map(plain_name, names)):
        raise HoneError(
            f"{config}: {short(names)} are the class names; at least two, none empty, are needed"
        )
    for name in names:
        if len(name) > NAME_LENGTH:
            raise HoneError(
                f"{config}: {short(name)} is no class name; up to {NAME_LENGTH} characters are "
                "needed"
            )
    plain = [plain_name(name) for name in names]
    for what, values in (("class name", plain), ("hotkey", [key for key in keys if key])):
        doubled = sorted(value for value, times in Counter(values).items() if times > 1)
        if doubled:
            raise HoneError(f"{config}: the {what} {doubled[0]!r} stands twice")
    return tuple(map(LabelClass, names, keys, hints))


def plain_name(name: str) -> str:
    """A name however its accents are composed, and without the blanks around it.

    One of thousands of characters stays as it is: composing takes work by the square of a run of
    accents, a quarter of an hour for a million of them.
    """
    name = name.strip()
    return unicodedata.normalize("NFC", name).strip() if len(name) <= LONGEST_COMPOSED else name


def _text(table: Mapping[str, Any], key: str, default: str, config: Path) -> str:
    """The text under a key; `name = 1` is a number, and no text that looks like one."""
    value = table.get(key, default)
    if not isinstance(value, str):
        raise HoneError(f"{config}: {key} is {short(value)}; write a text in quotes")
    if CONTROLS.search(value.replace("\r", "")) or set(value) & NO_XML:
        raise HoneError(
            f"{config}: the {key} {short(value)} has characters that a terminal obeys or that the "
            "XML of Label Studio's screen cannot hold; remove them"
        )
    return value


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
