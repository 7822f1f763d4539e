"""New files and served images become samples: checked, cleaned, known by their bytes."""

import os

from prefect import flow

from tasks.context import open_context
from tasks.ingest import adopt_traffic, ingest_files
from tasks.run_names import ingest_name
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="ingest-images",
    flow_run_name=ingest_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def ingest_images(folders: list[str] | None = None, processes: int | None = None) -> int:
    """Take in folders (default: the inbox) and what was served; return how many are new."""
    inbox = open_context().workspace.inbox
    inbox.mkdir(exist_ok=True)
    added = ingest_files(folders or [str(inbox)], processes or os.cpu_count() or 1)
    return added + adopt_traffic()
