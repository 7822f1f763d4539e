"""Which strategy can be used on a pool that lacks something."""

from labeling.strategies import STRATEGIES
from labeling.strategies.auto import without_embeddings
from labeling.strategies.pool import Pool

# Of one that lacks what it needs: the first that does not.
INSTEAD = ("margin", "typiclust", "random")


def usable(name: str, pool: Pool) -> tuple[str, str]:
    """The strategy that can be used on this pool in the place of `name`, and why, in words."""
    if name == "auto" and pool.embeddings is None:
        plan = without_embeddings(pool)
        return next(iter(plan.parts)), str(plan)
    lacking = _lacking(name, pool)
    if not lacking:
        return name, name
    other = next(instead for instead in INSTEAD if not _lacking(instead, pool))
    return other, f"{other}, because {name} needs {' and '.join(lacking)} and the pool has none"


def _lacking(name: str, pool: Pool) -> list[str]:
    return [part for part in STRATEGIES[name].needs if getattr(pool, part) is None]
