"""The audit rows of a population, where ledger and traffic are put together."""

from collections.abc import Collection

from sqlalchemy import Connection

from labeling.ledger.samples import members_of
from models.serving.prediction_store import answered_samples


def served_groups(connection: Connection, model: str, group_ids: Collection[str]) -> set[str]:
    """Those of these groups with an image that the model answered in service."""
    members = members_of(connection, group_ids)
    return {members[name] for name in answered_samples(connection, model, list(members))}
