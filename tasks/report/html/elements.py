"""HTML that escapes what it is given: names, reasons and paths come from strangers."""

from collections.abc import Collection, Iterable, Sequence
from html import escape

from core.text import printable

LONGEST = 400  # characters of a text on the page; a name may have a million
CARDS_FROM = 3  # columns that a phone has room for
VOID = frozenset({"img", "meta", "rect", "line", "path", "circle"})  # elements without content


class Html(str):
    """Text that is HTML already; any other text is escaped before it is put beside it."""

    __slots__ = ()


def plain(value: object, longest: int = LONGEST) -> Html:
    """A value as text that the page shows and does not obey, cut where it is very long."""
    text = printable(str(value)[: longest + 1])
    return Html(escape(text if len(text) <= longest else f"{text[: longest - 1]}…"))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An element with its content; `class_` is the attribute class, None leaves one out."""
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{plain(value, 200_000)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{words}>" if tag in ("img", "meta") else f"<{tag}{words}/>")
    return Html(f"<{tag}{words}>{joined(children)}</{tag}>")


def joined(parts: Iterable[object], between: str = "") -> Html:
    """The parts behind each other, each escaped that is no HTML."""
    return Html(between.join(part if isinstance(part, Html) else plain(part) for part in parts))


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    figures: Collection[str] = (),
) -> Html:
    """A table in which the columns named in `figures` are numbers; the first cell names a row.

    On a narrow screen one of few columns scrolls by itself, and of more each row becomes a list.
    """
    kinds = ["number" if name in figures else None for name in head]
    titles = [
        element("th", name, scope="col", class_=kind)
        for name, kind in zip(head, kinds, strict=True)
    ]
    lines = []
    for first, *others in rows:
        named = zip(head[1:], kinds[1:], others, strict=True)
        cells = [element("td", cell, data_name=name, class_=kind) for name, kind, cell in named]
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    is_wide = len(head) > CARDS_FROM
    return scrolling(
        element("thead", element("tr", *titles)),
        element("tbody", *lines),
        caption=caption,
        kind="cards" if is_wide else None,
    )


def scrolling(*content: Html, caption: str, kind: str | None) -> Html:
    """A table that scrolls by itself where the screen is narrower, with a keyboard, too."""
    inner = element("table", element("caption", caption), *content, class_=kind)
    return element("div", inner, class_="scrolls", tabindex="0", role="region", aria_label=caption)


def sentence(text: str) -> Html:
    """A text in which `commands` stand between backticks."""
    parts = text.split("`")
    is_paired = len(parts) % 2 == 1
    if not is_paired:
        return plain(text, 2_000)
    return joined(
        code(part) if place % 2 else plain(part, 2_000) for place, part in enumerate(parts)
    )


def bullets(sentences: Iterable[object]) -> Html:
    """A list of sentences; nothing without one."""
    lines = [element("li", sentence(str(one))) for one in sentences]
    return element("ul", *lines) if lines else Html()


def details(summary: str, *content: object) -> Html:
    """Content that one opens."""
    return element("details", element("summary", summary), *content)


def code(text: object) -> Html:
    """A command or a name of the machine's."""
    return element("code", text)
