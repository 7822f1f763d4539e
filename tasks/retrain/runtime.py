"""The runtime of a model on this machine, chosen on images of the audit and of the pool."""

from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pandas as pd

from labeling.ledger import rounds
from labeling.ledger.reasons import Split
from labeling.snapshots.publish import load_snapshot
from models.runtimes.policy import Policy
from tasks.context import Context
from tasks.predictions import load_version

if TYPE_CHECKING:
    from models.runtimes.choice import Choice

AUDIT_IMAGES, POOL_IMAGES = 1000, 1000


def choose_runtime(ctx: Context, version: str) -> "Choice | None":
    """The choice for a model, measured now unless it is known; printed when it was measured.

    None where HONE_RUNTIME is torch, and where nothing could be chosen, which is printed: torch
    serves the model.
    """
    policy = Policy(ctx.settings.runtime)
    if policy == Policy.TORCH:
        return None
    from models.runtimes.choice import load_choice, model_folder
    from models.runtimes.probe_process import ProbeFailed, choose

    home, threads = ctx.workspace.runtimes, ctx.settings.threads
    loaded = load_version(ctx, version)
    folder = model_folder(home, version)
    known = load_choice(folder, loaded.sha256, policy, threads=threads)
    if known is not None:
        return known
    try:
        with TemporaryFile() as file:  # without a name: a kill leaves no image behind
            is_written = _write_images(ctx, loaded.card.snapshot, file)
            choice = choose(
                loaded,
                home,
                policy=policy,
                threads=threads,
                images=file if is_written else None,
                traffic=ctx.workspace.traffic,
            )
    except (ProbeFailed, OSError) as error:
        print(f"{version} is served with torch: {error}")
        return None
    print(f"{version} is served with {choice.sentence()}; measured in {choice.seconds:.0f} s")
    return choice


def _write_images(ctx: Context, snapshot: str, file: BinaryIO) -> bool:
    """Write images of the audit and of the pool; False where none can be read."""
    from models.network.images import open_images

    try:
        table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
        audit = table[table["split"] == Split.TEST].head(AUDIT_IMAGES)
    except (OSError, ValueError) as error:
        print(f"runtimes are not compared on the audit of {snapshot}: {error}")
        audit = pd.DataFrame()
    with ctx.engine.connect() as connection:
        pool = rounds.load_pool(connection)
    every = max(1, len(pool) // POOL_IMAGES)
    rows = pd.concat([audit, pool.iloc[::every].head(POOL_IMAGES)], ignore_index=True)
    if rows.empty:
        return False
    try:
        images = open_images(rows, ctx.workspace.shards, ctx.workspace.image_size, memory_bound=0)
        np.save(file, images.decode(np.arange(len(rows))).contiguous().numpy())
        file.flush()
    except (OSError, ValueError) as error:  # shards that are not here: other images do
        print(f"runtimes are not compared on stored images: {error}")
        return False
    return True


def packages_of(choice: "Choice | None") -> dict[str, str]:
    """The packages, with their versions, that a bento needs for what was chosen."""
    if choice is None:
        return {}
    from models.runtimes.candidates import CANDIDATES

    needed = {name for one in choice.runtimes for name in CANDIDATES[one].packages}
    return {name: choice.machine["packages"][name] for name in sorted(needed)}


def chosen_for_release(ctx: Context, version: str) -> dict[str, str]:
    """The packages that the runtime of a model needs, chosen before it is packaged."""
    return packages_of(choose_runtime(ctx, version))
