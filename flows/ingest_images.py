"""New files and served images become samples: checked, cleaned, known by their bytes."""

import os

from prefect import flow

from tasks.context import open_context
from tasks.ingest import adopt_traffic, ingest_files, record_metadata
from tasks.run_names import ingest_name
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="ingest-images",
    flow_run_name=ingest_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def ingest_images(
    folders: list[str] | None = None, processes: int | None = None, metadata: str | None = None
) -> int:
    """Take in folders (default: the inbox) and what was served; return how many are new.

    `metadata` is a table of what is known about the images beside their labels.
    """
    inbox = open_context().workspace.inbox
    inbox.mkdir(exist_ok=True)
    folders = folders or [str(inbox)]
    added = ingest_files(folders, processes or os.cpu_count() or 1)
    if metadata:
        record_metadata(metadata, folders)
    return added + adopt_traffic()
