"""The audit rows of a population, where ledger and traffic are put together."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from labeling.ledger.samples import members_of
from models.registry.releases import release_of
from models.serving.erasures import drawn_by_chance
from models.serving.prediction_store import answered_samples


def served_groups(connection: Connection, model: str, group_ids: Collection[str]) -> set[str]:
    """Those of these groups with an image that the model, or its cascade, answered.

    Where images were thinned out, with one that chance retained: the others were retained for what
    was answered, and are no even sample of the traffic.
    """
    members = members_of(connection, group_ids)
    answered = answered_in_service(connection, model, list(members))
    return {members[name] for name in drawn_by_chance(connection, answered)}


def answered_in_service(connection: Connection, model: str, sample_ids: Sequence[str]) -> set[str]:
    """Those of these samples that the model answered, or the front model of its cascade."""
    answered = answered_samples(connection, model, sample_ids)
    current = release_of(connection)
    if current is not None and current.champion == model and current.front is not None:
        answered |= answered_samples(connection, current.front, sample_ids)
    return answered
