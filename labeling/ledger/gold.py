"""Gold: samples whose class is known for certain, to see by how annotators answer them."""

from collections.abc import Collection

import pandas as pd
from sqlalchemy import Connection, Engine, select

from core import journal
from core.database import now, writing
from core.locks import Token, fence
from core.rows import chunks
from labeling.ledger.pending import forget_full_pass, mark_pending
from labeling.ledger.tables import audit, gold, labels

METHOD = "gold"  # of a label that rests on no answers


def gold_labels(connection: Connection) -> pd.Series:
    """The known class of each gold sample."""
    rows = connection.execute(select(*gold.c["sample_id", "label"]).order_by(gold.c.sample_id))
    known = dict(rows.tuples().all())
    return pd.Series(
        known, index=pd.Index(list(known), name="sample_id"), name="label", dtype=object
    )


def add_gold(engine: Engine, token: Token, labels: pd.Series, *, source: str) -> int:
    """Make the classes of these samples known truths; return how many were not known so before.

    Idempotent. The label in force becomes the truth, and the one before stays as history. An audit
    sample is refused, and with it all the rest: what measures the model is no exercise.
    """
    wanted = {str(sample_id): str(label) for sample_id, label in labels.items()}
    with writing(engine) as connection:
        fence(connection, token)
        if refused := audited(connection, wanted):
            raise ValueError(
                f"sample {min(refused)} is in the audit, which measures the model, and cannot be "
                "gold; leave it out, or choose other images"
            )
        known = gold_labels(connection).to_dict()
        fresh = {key: label for key, label in wanted.items() if known.get(key) != label}
        for keys in chunks(sorted(fresh)):
            journal.delete(connection, gold, gold.c.sample_id.in_(keys))
        at = {"source": source, "added_at": now()}
        if fresh:
            mark_pending(connection, fresh)
            forget_full_pass(connection)  # gold tells how reliable annotators are
            rows = [{"sample_id": key, "label": label, **at} for key, label in fresh.items()]
            journal.insert(connection, gold, rows)
        _settle(connection, wanted, source)
    return len(fresh)


def audited(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these samples that are in the audit."""
    sample_ids_in_audit: set[str] = set()
    for keys in chunks(sorted(sample_ids)):
        sample_ids_in_audit |= set(
            connection.scalars(select(audit.c.sample_id).where(audit.c.sample_id.in_(keys)))
        )
    return sample_ids_in_audit


def _settle(connection: Connection, truths: dict[str, str], source: str) -> None:
    """Let each truth be the label in force."""
    in_force = labels.c.replaced_at.is_(None)
    standing: dict[str, tuple[str, str]] = {}
    for keys in chunks(sorted(truths)):
        asked = select(*labels.c["sample_id", "label", "method"])
        rows = connection.execute(asked.where(in_force, labels.c.sample_id.in_(keys)))
        standing |= {row.sample_id: (row.label, row.method) for row in rows}
    fresh = {key: label for key, label in truths.items() if standing.get(key) != (label, METHOD)}
    for keys in chunks(sorted(fresh)):
        mine = labels.c.sample_id.in_(keys)
        journal.update(connection, labels, in_force, mine, replaced_at=now())
    same = {"trust": 1.0, "annotators": [source], "method": METHOD}
    settled = [
        {"sample_id": key, "label": label, **same, "settled_at": now()}
        for key, label in fresh.items()
    ]
    journal.insert(connection, labels, settled)
