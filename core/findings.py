"""What `hone fsck` reports: broken promises, each with its harm and its remedy."""

from dataclasses import dataclass

MEND = "`hone fsck --repair` mends what the cache or the remote still has"
RESTORE = "restore the database from a backup"


@dataclass(frozen=True)
class Finding:
    """One broken promise."""

    promise: str  # I1 to I17, as in docs/promises.md
    what: str  # the thing, by name, and what is wrong with it
    remedy: str
    harm: str = ""  # what follows from it; a check gives its findings its own
