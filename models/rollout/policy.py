"""How a promoted version gets into service, and what ends its trial: `[release]` in hone.toml."""

from typing import Literal, Self

from pydantic import Field, model_validator

from core.configuration import configuration

FULL = "full"


@configuration("release")
class ReleasePolicy:
    """How a promoted version gets into service, and what ends its trial."""

    path: Literal["direct", "shadow", "canary"] = Field(
        default="direct",
        description="where retrain puts it: into service, or a trial that goes on by itself",
    )
    min_requests: int = Field(
        default=1000,
        ge=1,
        description="images that the challenger answers in each step, at least; in shadow each "
        "counts once",
    )
    min_hours: float = Field(
        default=24.0, ge=0, le=2160, description="hours that each step takes, at least"
    )
    canary_share: int = Field(
        default=10,
        ge=0,
        le=50,
        description="percent of the traffic in the canary step; 0: from shadow to full service",
    )
    false_aborts: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="chance that a trial of a sound version is ever ended, in a workspace's life",
    )
    errors: float = Field(
        default=0.01, ge=0, lt=1, description="share of images it may fail on beyond the champion"
    )
    slower: float = Field(
        default=2.0, ge=1, le=100, description="times the champion's time that it may take"
    )
    abstentions: float = Field(
        default=0.05, ge=0, lt=1, description="rise of the share of answers that need review"
    )
    disagreement: float = Field(
        default=0.05, ge=0, lt=1, description="disagreement beyond what the verdict measured"
    )
    loss: float = Field(
        default=0.02, ge=0, lt=1, description="loss of accuracy by the truths that come back"
    )
    label_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of a batch, at most, for images that champion and challenger answered "
        "differently in a trial",
    )

    @model_validator(mode="after")
    def _check_canary(self) -> Self:
        if self.path == "canary" and not self.canary_share:
            raise ValueError(
                'canary_share is 0 with path = "canary", which leaves no step before full service; '
                'choose from 1 to 50, or path = "direct"'
            )
        return self

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of a trial in their order; the last is full service."""
        trial = {"direct": (), "shadow": ("shadow", "canary"), "canary": ("canary",)}[self.path]
        return (*(one for one in trial if one != "canary" or self.canary_share), FULL)
