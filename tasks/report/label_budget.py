"""The label budget: how many labels may still be asked for, by `hone budget --labels`."""

import json

from sqlalchemy import Connection

from core.database import now
from core.files import write_atomically
from labeling.ledger.overview import count_open, ledger_counts
from tasks.context import Context

NAME = "label-budget.json"


def grant_labels(ctx: Context, more: int) -> None:
    """Record that so many more labels may be asked for, from now on; the last word counts."""
    with ctx.engine.connect() as connection:
        record = {"at": now(), "labels": _asked(connection) + more}
    path = ctx.workspace.runs / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(record).encode())


def labels_left(ctx: Context, connection: Connection) -> int | None:
    """The labels that may still be asked for; None without a limit, or where it cannot be read."""
    try:
        limit = int(json.loads((ctx.workspace.runs / NAME).read_bytes())["labels"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        print(f"the label budget cannot be read ({error}); `hone budget --labels` records it anew")
        return None
    return max(limit - _asked(connection), 0)


def _asked(connection: Connection) -> int:
    """Labels in force, and assignments that annotators have open."""
    return ledger_counts(connection).labels + count_open(connection)
