"""Which images of the traffic are retained, beside the share that chance decides on.

The share comes before every quota, and depends on the image's bytes alone: what the audit and the
duels measure on the traffic is drawn from it, so that they stay an even sample however much is
left out. Predictions stay, with label, confidence, statistics and embedding.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Annotated, Any

from pydantic import Field

from core.configuration import OneOf, configuration
from core.masking import MASKERS

CHANCE, EXEMPLAR, DISAGREEMENT = "chance", "exemplar", "disagreement"  # why, beside RULES
HOUR, DAY = len("2026-01-31T17"), len("2026-01-31")


@configuration("retention")
class RetentionPolicy:
    """Which images of the traffic are retained, and for how long."""

    random_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the images that is retained by chance, before every quota; the audit "
        "and the duels of the traffic are drawn from it; 1: every image",
    )
    uncertain_below: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="images answered with less confidence are retained beside that share",
    )
    per_hour: int = Field(
        default=0, ge=0, description="images retained for their answer in an hour, at most; 0: any"
    )
    per_day: int = Field(
        default=0, ge=0, description="images retained for their answer in a day, at most; 0: any"
    )
    days: int = Field(
        default=0,
        ge=0,
        description="after an answer its image is deleted from the traffic; 0: never",
    )
    sample_days: int = Field(
        default=0,
        ge=0,
        description="a sample from the traffic that nobody answered is deleted then; 0: never",
    )
    mask: Annotated[str, OneOf(MASKERS)] = Field(
        default="none",
        description="what is made coarse in an image before it becomes a sample; the image as it "
        "was received is then deleted from the traffic once that was checked",
    )

    @property
    def thins(self) -> bool:
        """Whether some images are deleted once the traffic was checked."""
        return self.random_share < 1


# Why an image is retained beside the share: from its row of predictions and the policy.
RULES: dict[str, Callable[[Any, RetentionPolicy], bool]] = {
    "review": lambda row, policy: bool(row.needs_review),
    "uncertain": lambda row, policy: bool(row.confidence < policy.uncertain_below),
}


def in_share(sample_id: str, share: float) -> bool:
    """Whether chance retains an image: the same for each copy of its bytes, and for ever.

    Images of a smaller share are of each larger one, too.
    """
    digest = hashlib.sha256(f"retention:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


def rule_of(row: Any, policy: RetentionPolicy) -> str | None:
    """The first of RULES by which an image is to be retained beside the share; None of none."""
    return next((name for name, holds in RULES.items() if holds(row, policy)), None)


def retained(
    rows: Iterable[Any], policy: RetentionPolicy, used: Counter[str], there: Collection[str] = ()
) -> Iterator[tuple[Any, str]]:
    """The rows whose image is retained, in their order, each with why.

    `used` counts, by hour and by day, the images that were retained beside the share; it is
    counted on. Of the images that are `there` no further copy is retained beside the share.
    """
    sample_ids = set(there)
    for row in rows:
        if in_share(row.sample_id, policy.random_share):
            yield row, CHANCE
            continue
        why = rule_of(row, policy)
        if why is None or row.sample_id in sample_ids:  # one copy of an image is enough
            continue
        hour, day = row.served_at[:HOUR], row.served_at[:DAY]
        limits = (used[hour], policy.per_hour), (used[day], policy.per_day)
        if all(not most or count < most for count, most in limits):
            used.update((hour, day))
            sample_ids.add(row.sample_id)
            yield row, why
