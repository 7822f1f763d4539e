"""The label budget: how many labels may still be asked for, by `hone budget --labels`."""

import json

from sqlalchemy import Connection

from core.database import now
from core.files import write_atomically
from labeling.batches.select import SelectionConfig
from labeling.ledger.overview import count_asked_since, last_batch_size
from tasks.context import Context

NAME = "label-budget.json"


def grant_labels(ctx: Context, more: int) -> None:
    """Record that so many more labels may be asked for, from now on; the last word counts."""
    path = ctx.workspace.runs / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"at": now(), "granted": more}).encode())


def labels_left(ctx: Context, connection: Connection) -> int | None:
    """The labels that may still be asked for; None without a limit, or where it cannot be read.

    Counted is what annotators were asked since the grant, not labels that came otherwise.
    """
    try:
        record = json.loads((ctx.workspace.runs / NAME).read_bytes())
        granted, since = int(record["granted"]), str(record["at"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        print(f"the label budget cannot be read ({error}); `hone budget --labels` records it anew")
        return None
    return max(granted - count_asked_since(connection, since), 0)


def labels_of_batch(connection: Connection) -> int:
    """How many labels a batch asks for: as the last one, which the deployment's size decides."""
    return last_batch_size(connection) or SelectionConfig().size
