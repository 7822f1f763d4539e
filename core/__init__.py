"""What labeling and models both stand on: files, images, shards, the database, the workspace."""

import atexit
import gc
import sys


def _leave_garbage() -> None:
    """Pass over the search for garbage at the end, 1.3 s among all that torch and Prefect import.

    Not beside triton, whose bindings would list everything that is left as a leak.
    """
    if "triton" not in sys.modules:
        gc.freeze()


atexit.register(_leave_garbage)
