"""What a process leaves out at its end."""

import gc
import sys


def skip_garbage() -> None:
    """Let the interpreter pass over the search for garbage: 1.3 s among torch's and Prefect's.

    Not beside triton, whose bindings would list all that is left as a leak.
    """
    if "triton" not in sys.modules:
        gc.freeze()
