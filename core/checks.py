"""What the tables of locks and intents promise, checked."""

from collections.abc import Iterator

from sqlalchemy import Engine, func, select

from core.access import is_open_to_others
from core.findings import RESTORE, Finding
from core.intents import intents
from core.locks import locks
from core.workspace import Workspace


def tokens_only_rise(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Intents that carry a token higher than any that was handed out."""
    with engine.connect() as connection:
        highest = connection.scalar(select(func.max(locks.c.token))) or 0
        for row in connection.execute(select(intents).where(intents.c.token > highest)):
            yield Finding(
                "I8",
                f"intent {row.kind} {row.key} has token {row.token}, above {highest}",
                f"the table of locks was set back: {RESTORE}",
            )


def others_have_no_access(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """A workspace that users outside its group may enter."""
    if is_open_to_others(workspace.root):
        yield Finding(
            "I14",
            f"{workspace.root} is open to every user of this machine, who may read its images and "
            "answers, and change what its modes let them",
            "`hone fsck --repair` takes their rights away, as `chmod -R o= .` in it does; Label "
            "Studio and a service that run as other users then need the workspace's group",
        )
