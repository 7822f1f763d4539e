"""At its end a process looks for no garbage, and prints nothing."""

import subprocess
import sys

COUNT = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); import core"


def end_of(code: str) -> str:
    """What a process prints that runs this, and what its end says of frozen objects."""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return ended.stdout


def test_no_garbage_is_looked_for_at_the_end() -> None:
    assert end_of(COUNT) == "True\n"


def test_beside_triton_it_is_since_its_bindings_would_print_what_is_left() -> None:
    assert end_of(f"import sys; sys.modules['triton'] = sys; {COUNT}") == "False\n"
