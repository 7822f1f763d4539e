"""A cascade: a small model in front answers what it is sure of, the champion the rest.

Each answer names the model that gave it, and is recorded under that model. Pre-annotations and a
canary's clients are answered by one model alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.kinds import Kind
from models.registry.model_store import LoadedModel
from models.serving.answer_cache import EAGER, AnswerCache, Computed, Maker
from models.serving.decoders import Lookup, Waiting
from models.serving.release_follower import ActiveModel
from models.serving.segments import DIGITS


def confidences(outputs: np.ndarray, kind: Kind, classes: Sequence[str]) -> np.ndarray:
    """The confidence of each answer, rounded as it is served and recorded."""
    answers = kind.answers(outputs, classes)
    return np.array([round(answer.confidence, DIGITS) for answer in answers], float)


@dataclass(frozen=True)
class Answering:
    """The models that answer a request: one, and perhaps one in front of it."""

    model: LoadedModel
    front: LoadedModel | None = None
    threshold: float = 1.0  # confidence from which the front model's answer is given

    @property
    def name(self) -> tuple[str, str | None]:
        """Requests of the same name are answered together."""
        return self.model.version, self.front.version if self.front else None

    def is_sure(self, outputs: np.ndarray) -> np.ndarray:
        """Which of the front model's outputs are answers; the others are left to the champion."""
        card = self.model.card
        sure = confidences(outputs, card.label_kind, card.classes) >= self.threshold
        return np.asarray(sure, bool)

    def model_of(self, computed: Computed) -> LoadedModel:
        """The model that made this, by whatever runtime: that may change while it answers."""
        if self.front is not None and computed.maker.digest == self.front.sha256:
            return self.front
        return self.model

    def looks_up(self, request: Waiting, cache: AnswerCache) -> Lookup | None:
        """What finds earlier answers; None for a request that does not use them."""
        if not (cache.is_on and request.recorded):
            return None

        def look_up(sample_id: str) -> Computed | None:
            computed = self._known(cache, sample_id)
            cache.count(hit=computed is not None)
            return computed

        return look_up

    def may_answer(self, request: Waiting) -> bool:
        """Whether the pictures of the request, and what is known of them, are for these models."""
        return request.image_size == self.model.card.image_size and all(
            one.computed is None or self._gives(one.computed) for one in request.pictures
        )

    def _known(self, cache: AnswerCache, sample_id: str) -> Computed | None:
        """The earlier answer that would be given now: the champion's only of what is escalated."""
        if self.front is not None:
            first = cache.get(sample_id, maker_of(self.front))
            if first is None or self._gives(first):
                return first
        return cache.get(sample_id, maker_of(self.model))

    def _gives(self, computed: Computed) -> bool:
        model = self.model_of(computed)
        if computed.maker != maker_of(model):
            return False
        return model is not self.front or bool(self.is_sure(computed.output[None])[0])


def answering(active: ActiveModel, request: Waiting) -> Answering | None:
    """The models that answer a request now; None without a model in service."""
    model = active.model_for(request.key)
    if model is None:
        return None
    front, threshold = active.front, active.front_threshold
    cascades = request.recorded and model is active.model
    if not cascades or front is None or threshold is None or unfit(front, model):
        return Answering(model)
    return Answering(model, front, threshold)


def cascade_status(active: ActiveModel, failure: tuple[str, str] | None) -> dict[str, Any] | None:
    """The front model as JSON, with the problem that keeps it from answering; None without one.

    `failure` is the version of the front model that failed last, and what it failed with.
    """
    front = active.front
    if front is None or active.model is None:
        return None
    failed = failure[1] if failure and failure[0] == front.version else None
    return {
        "front": front.version,
        "threshold": active.front_threshold,
        "problem": unfit(front, active.model) or failed,
    }


def unfit(front: LoadedModel, model: LoadedModel) -> str | None:
    """Why a model cannot answer in front of another; None where it can."""
    for name in ("kind", "classes", "image_size"):
        its, other = getattr(front.card, name), getattr(model.card, name)
        if its != other:
            return f"{front.version} has {name} {its}, and {model.version} {other}"
    return None


def maker_of(model: LoadedModel) -> Maker:
    """The name under which the answers of this model are stored."""
    return Maker(model.sha256, (model.runtime.key if model.runtime else "") or EAGER)
