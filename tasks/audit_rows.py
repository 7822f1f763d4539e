"""The audit rows of a population, where ledger and traffic are put together."""

from collections.abc import Collection

from sqlalchemy import Connection

from labeling.ledger.samples import members_of
from models.serving.erasures import drawn_by_chance
from models.serving.prediction_store import answered_samples


def served_groups(connection: Connection, model: str, group_ids: Collection[str]) -> set[str]:
    """Those of these groups with an image that the model answered in service.

    Where images were thinned out, with one that chance retained: the others were retained for what
    was answered, and are no even sample of the traffic.
    """
    members = members_of(connection, group_ids)
    answered = answered_samples(connection, model, list(members))
    return {members[name] for name in drawn_by_chance(connection, answered)}
