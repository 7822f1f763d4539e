"""What other users of the machine get of a workspace: nothing.

The owner's group gets what the umask leaves it, so that Label Studio and the service may run as
other users of one group.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

OTHERS = stat.S_IRWXO
SHARED = 0o660  # of a new file, before the umask: the owner's and the group's


def keep_others_out() -> None:
    """Let this process and its children make nothing from now on that other users may open.

    Files of other programs (git, DVC, W&B, SQLite, BentoML) have the modes that the umask leaves.
    """
    os.umask(os.umask(OTHERS | stat.S_IRWXG) | OTHERS)  # stricter in between, never looser


def is_open_to_others(path: Path) -> bool:
    """Whether users outside the owner's group have any right to `path`."""
    return bool(path.stat().st_mode & OTHERS)


def close_to_others(root: Path) -> int:
    """Take every right of other users away from `root` and all below; return how many changed.

    `root` itself comes first: with it everything below is out of their reach.
    """
    changed = 0
    for path in _tree(root):
        mode = path.stat().st_mode
        if mode & OTHERS:
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
            changed += 1
    return changed


def _tree(root: Path) -> Iterator[Path]:
    """`root` and what is below it, without links, which lead elsewhere."""
    yield root
    for folder, folders, files in os.walk(root):
        below = (Path(folder) / name for name in (*folders, *files))
        yield from (path for path in below if not path.is_symlink())
