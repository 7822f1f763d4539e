"""Outcomes of served predictions: the tables, and what a truth is good for.

`outcomes` is the record: every truth that came, for ever. The others follow from it and from the
predictions, and are made in the same transaction; `hone fsck` makes them again and compares.
"""

from enum import StrEnum

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text

from core import journal
from core.database import metadata


class Standing(StrEnum):
    """What the truth of a prediction is good for."""

    JUDGES = "judges"  # confirmed by people who agree: accuracy is computed from it
    TRAINS = "trains"  # weak or implicit: it trains with less weight and never judges
    DISPUTED = "disputed"  # people differ: it does neither until one of them corrects it
    UNKNOWN_CLASS = "unknown class"  # hone.toml has no such class: neither, until it has


outcomes = Table(
    "outcomes",
    metadata,
    Column("outcome_id", Text, primary_key=True),  # of the content: a repeated one is known by it
    Column("seq", Integer, nullable=False, unique=True),  # order of recording
    Column("prediction_id", Text, nullable=False, index=True),  # perhaps not known here yet
    Column("truth", Text, nullable=False),  # as it was given
    Column("who", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("strength", Text, nullable=False),  # a Strength
    Column("at", Text),  # by the clock of whoever gave it
    Column("received_at", Text, nullable=False),
    Column("repeats", Boolean),  # whether it is what was served; null: prediction not known yet
    Column("superseded_by", Text),  # the outcome that the same person put in its place
    info=journal.COVERED,
)

# The truth of each prediction that has one and is known.
truths = Table(
    "truths",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),  # rises with each change
    Column("model", Text, nullable=False),
    Column("sample_id", Text, nullable=False, index=True),
    Column("hour", Text, nullable=False),  # in which it was served, such as 2026-01-31T17
    Column(
        "slice", Text, nullable=False
    ),  # where the image came from; of many names a day, "other"
    Column("label", Text, nullable=False),  # as served
    Column("truth", Text, nullable=False),
    Column("standing", Text, nullable=False),  # a Standing
)
Index("ix_truths_standing", truths.c.standing, truths.c.model, truths.c.number)

# How many truths of each kind there are: reports cost the same however many there are.
truth_counts = Table(
    "truth_counts",
    metadata,
    Column("model", Text, primary_key=True),
    Column("hour", Text, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("standing", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("truth", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
)

# Predictions that have an outcome and are not known, perhaps not yet.
waiting_outcomes = Table(
    "waiting_outcomes",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column("since", Text, nullable=False),
)

# The sources that are counted by name, of each day on which images were served.
slice_names = Table(
    "slice_names",
    metadata,
    Column("day", Text, primary_key=True),
    Column("name", Text, primary_key=True),
)
