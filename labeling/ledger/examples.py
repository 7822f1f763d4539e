"""Labelled samples that are shown as examples, or beside a sample that they resemble."""

from collections.abc import Sequence

import pandas as pd
from sqlalchemy import Connection, func, select

from labeling.batches.features import Features
from labeling.batches.most_similar import nearest, nearest_by_features
from labeling.ledger.rounds import IMAGE_COLUMNS
from labeling.ledger.tables import audit, gold, labels, samples


def most_trusted_samples(connection: Connection, *, each: int) -> pd.DataFrame:
    """For every class the samples whose label is surest, the oldest first: examples of it."""
    rank = func.row_number().over(
        partition_by=labels.c.label,
        order_by=(labels.c.trust.desc(), labels.c.settled_at, labels.c.sample_id),
    )
    ranked = (
        select(labels.c.sample_id, labels.c.label, rank.label("place"))
        .where(labels.c.replaced_at.is_(None))
        .where(labels.c.sample_id.not_in(select(gold.c.sample_id)))  # its label stays secret
        .where(labels.c.sample_id.not_in(select(audit.c.sample_id)))
        .subquery()
    )
    query = (
        select(ranked.c.label, *samples.c[IMAGE_COLUMNS], samples.c.format)
        .join(samples, samples.c.sample_id == ranked.c.sample_id)
        .where(ranked.c.place <= each)
        .order_by(ranked.c.label, ranked.c.place)
    )
    return pd.read_sql(query, connection)


def most_similar_labelled(
    connection: Connection, sample_ids: Sequence[str], features: Features | None = None
) -> list[str | None]:
    """For each sample the labelled one that looks most like it; None while there is none.

    By features where the samples and labelled ones have them, else by thumbnails. It is never gold:
    who saw a sample as labelled before would know that its label is known.
    """
    in_force = select(labels.c.sample_id).where(
        labels.c.replaced_at.is_(None), labels.c.sample_id.not_in(select(gold.c.sample_id))
    )
    if not sample_ids:
        return []
    if features is not None and features.has(sample_ids):
        names = sorted(set(connection.scalars(in_force)) - set(sample_ids))
        has = (features.numbers(names) >= 0).tolist()
        names = [name for name, known in zip(names, has, strict=True) if known]
        if names:
            rows = nearest_by_features(features.of(sample_ids), features.of(names))
            return [names[int(row)] for row in rows]
    query = select(*samples.c["sample_id", "thumbnail"])
    known = connection.execute(
        query.where(samples.c.sample_id.in_(in_force), samples.c.sample_id.not_in(sample_ids))
    ).all()
    if not known:
        return [None] * len(sample_ids)
    mine = dict(connection.execute(query.where(samples.c.sample_id.in_(sample_ids))).tuples().all())
    rows = nearest([mine[key] for key in sample_ids], [row.thumbnail for row in known])
    return [known[int(row)].sample_id for row in rows]
