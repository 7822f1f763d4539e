"""The outcomes that came since the last check, as the signals about outcomes take them."""

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from core.intervals import Interval
from models.watching.outcome_queries import judged_counts, judged_rows, last_number
from models.watching.outcome_signals import Judged
from models.watching.performance import performance
from tasks.scenes import share_of_scenes
from tasks.watch.window import groups_of, is_row_of_numbers

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel

MEASURED_FROM = 20  # truths: fewer give no accuracy to act on
MOST = 10_000  # outcomes of one check: more wait for the next one, so that memory is bounded


def new_judged(
    connection: Connection, loaded: "LoadedModel", after: int
) -> tuple[Judged | None, int]:
    """The predictions of a model whose truth judges and came or changed after number `after`.

    None where there is none; and the number reached, from which the next check goes on. A truth of
    a class that the model does not know has the number -1.
    """
    last = last_number(connection)
    # PostgreSQL shows the second query what was committed since the first: `last` follows the rows
    rows = judged_rows(connection, loaded.version, after=after, limit=MOST)
    if rows.empty:
        return None, max(after, last)
    reached = int(rows["number"].max())
    last = reached if len(rows) == MOST else max(last, reached)  # of so many there may be more
    width, places = (
        loaded.network.output_width,
        {name: place for place, name in enumerate(loaded.card.classes)},
    )
    sound = rows[[is_row_of_numbers(one, width) for one in rows["probabilities"]]]
    outputs = np.array(sound["probabilities"].tolist(), np.float32).reshape(-1, width)
    truths = np.array([places.get(name, -1) for name in sound["truth"]], int)
    groups = groups_of(sound["sample_id"].tolist())
    judged = Judged(outputs, truths, np.ones(len(sound), bool), groups)
    return judged, last


def has_new_truths(connection: Connection, after: int) -> bool:
    """Whether a truth came or changed since."""
    return last_number(connection) > after


def accuracy_since(connection: Connection, model: str, since: str) -> Interval | None:
    """The measured accuracy of what was served since; None with too few truths."""
    distinct = share_of_scenes(connection, model)
    measured = performance(judged_counts(connection, model, since=since), distinct=distinct)
    if measured is None or measured.rows < MEASURED_FROM:
        return None
    return measured.accuracy
