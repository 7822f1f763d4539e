"""Images of the traffic that a check names: pictures with what was answered about them."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.text import counted
from models.serving.prediction_store import find_prediction
from tasks.context import Context
from tasks.report.html.elements import Html, element, joined, plain
from tasks.report.html.pictures import Picture, captions, picture_grid, served_picture
from tasks.report.html.words import minute

SHOWN = 12


@dataclass(frozen=True)
class Exemplar:
    """A served image, and what the service answered."""

    prediction_id: str
    label: str
    confidence: float
    served_at: str
    picture: Picture


def load_exemplars(ctx: Context, prediction_ids: Sequence[str]) -> list[Exemplar]:
    """The first of these predictions, in their order; those no longer on record are left out."""
    rows = [find_prediction(ctx.engine, name) for name in prediction_ids[:SHOWN]]
    return [
        Exemplar(
            row.prediction_id,
            row.label,
            row.confidence,
            row.served_at,
            served_picture(ctx, row),
        )
        for row in rows
        if row is not None
    ]


def exemplar_pictures(exemplars: Sequence[Exemplar], heading: str) -> Html:
    """The pictures under a heading; nothing without one."""
    if not exemplars:
        return Html()
    shown = [(one.picture, f"served image answered {one.label[:80]}", _caption(one))
             for one in exemplars]  # fmt: skip
    title = f"{heading} ({counted(len(exemplars), 'image')})"
    return joined([element("h3", title), picture_grid(shown)])


def _caption(one: Exemplar) -> Html:
    return captions(
        joined([element("b", plain(one.label, 40)), f" {one.confidence:.2f}"]),
        element("span", minute(one.served_at), class_="muted"),
        element("span", plain(one.prediction_id, 12), class_="muted"),
    )
