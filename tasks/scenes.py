"""How many different scenes the truths in service are about: near-duplicates say one thing."""

from sqlalchemy import Connection

from labeling.ledger.samples import groups_of
from models.watching.outcome_queries import judged_samples
from models.watching.performance import distinct_share

NEWEST = 2_000  # truths that are looked at: the cost is the same for any history


def share_of_scenes(connection: Connection, model: str) -> float:
    """The share of a model's truths that intervals count: one truth for each scene, about.

    By the groups of near-duplicates, of the newest truths. An image that is no sample is a group.
    """
    images = judged_samples(connection, model, NEWEST)
    groups = groups_of(connection, set(images))
    return distinct_share([groups.get(name, name) for name in images])
