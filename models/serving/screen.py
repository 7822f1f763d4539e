"""The labelling screen of a Label Studio project: where a pre-annotation goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from models.kinds import Kind

LENGTH = 2**20  # characters of a labelling config; one of 10,000 classes has half of that
DEPTH = 64  # of nested tags; screens have about ten
_PART = 2**14  # characters parsed at a time, so that the depth is checked early


@dataclass(frozen=True)
class Screen:
    """The control of a labelling screen that takes a pre-annotation of an image."""

    control: str
    image: str
    field: str  # of a task's `data`, with the image's address
    classes: frozenset[str]
    kind: Kind


def screen_of(config: str, classes: Sequence[str], kind: Kind) -> Screen | None:
    """The control of this kind of label that names most of `classes`; None when there is none.

    The config is untrusted: a document type (which expands entities), a config that is too long or
    too deep, and text that is no XML give None, in work proportional to its length.
    """
    tags = _tags(config)
    images = {
        tag.get("name"): tag.get("value", "").removeprefix("$")
        for tag in tags
        if tag.tag == "Image"
    }
    screens = [
        Screen(
            control=tag.get("name", ""),
            image=tag.get("toName", ""),
            field=images[tag.get("toName")],
            classes=frozenset(one.get("value", "") for one in tag.iter(kind.choice_tag)),
            kind=kind,
        )
        for tag in tags
        if tag.tag == kind.screen_tag
        and tag.get("toName") in images
        and tag.get("perRegion") != "true"
    ]
    known = frozenset(classes)
    fitting = [screen for screen in screens if screen.classes & known]
    return max(fitting, key=lambda screen: len(screen.classes & known), default=None)


def _tags(config: str) -> list[Element]:
    """Every tag of the config in order; none when it cannot be a labelling screen."""
    if "<!" in config or len(config) > LENGTH:
        return []
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    tags, depth = list[Element](), 0
    try:
        for start in range(0, len(config), _PART):
            parser.feed(config[start : start + _PART])
            for event, tag in cast(Iterator[tuple[str, Element]], parser.read_events()):
                depth += 1 if event == "start" else -1
                if depth > DEPTH:
                    return []
                if event == "start":
                    tags.append(tag)
        parser.close()
    except (ParseError, ValueError, LookupError):  # no XML; no text; an encoding of its own
        return []
    return tags
