"""Images whose answer was marked for a person, and the places of a batch that they may take."""

from pydantic import Field

from core.configuration import configuration
from labeling.batches.select import SelectionConfig, share_of


@configuration("review")
class ReviewPolicy:
    """Whether annotators get the images that the service answered with `needs_review`."""

    share: float = Field(  # annotators' time: it is spent only where somebody asks for it
        default=0.0,
        ge=0,
        le=1,
        description="share of a batch, at its front, for images whose answer was marked for a "
        "person; 0: none",
    )
    days: int = Field(
        default=30, ge=1, description="after an answer nobody waits for its review any more"
    )


def referred_places(policy: ReviewPolicy, selection: SelectionConfig) -> int:
    """How many such images may be in a batch: the share, of places that are promised to nobody."""
    wanted = share_of(selection.size, policy.share)
    return max(min(wanted, selection.size - selection.promised), 0)
