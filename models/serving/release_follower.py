"""The models that answer: they follow the newest release, except to one that fails its test.

It follows halts, too: whether the service answers at all.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.registry.halts import Halt, current_halt
from models.registry.model_store import LoadedModel, load_model
from models.registry.releases import Mode, Release, current_release
from models.runtimes.background import RuntimeChooser
from models.scoring.predict import predict
from models.serving.metrics import ShownModel
from models.serving.traffic_split import is_canarys

REFRESH_SECONDS = 0.5  # between looks at the newest release, and at the halts
RETRY_SECONDS = 30.0  # until a model that could not be loaded is tried again

logger = logging.getLogger("hone.service")


@dataclass(frozen=True)
class ActiveModel:
    """The models that answer now, their release, the problem with a newer one, and a halt."""

    model: LoadedModel | None
    release: int | None = None
    problem: str | None = None
    halt: Halt | None = None
    challenger: LoadedModel | None = None
    mode: Mode = Mode.OFF  # of the challenger
    share: float = 0.0  # percent of the clients that a canary answers
    front: LoadedModel | None = None  # of a cascade
    front_threshold: float | None = None

    def model_for(self, key: str | None) -> LoadedModel | None:
        """The model that answers the client of this key; without a key, the champion."""
        canary = self.challenger if self.mode == Mode.CANARY else None
        if canary is None or key is None or not is_canarys(key, canary.version, self.share):
            return self.model
        return canary


class ReleaseFollower:
    """Keeps `active` at the newest release in background threads, from `start` to `stop`."""

    def __init__(
        self,
        engine: Engine,
        bento_home: Path,
        *,
        threads: int,
        runtimes: RuntimeChooser | None = None,
    ) -> None:
        self.active = ActiveModel(None, problem="not started yet")
        self._engine = engine
        self._bento_home = bento_home
        self._threads = threads
        self._runtimes = runtimes
        self._changing = threading.Lock()  # of `active`, by one thread at a time
        self._tried = 0  # the release whose models were loaded last, or could not be
        self._failed: dict[str, tuple[float, str]] = {}  # by version: the next try, the cause
        self._standing: str | None = None  # the problem with the release that is served
        self._former: LoadedModel | None = None  # the champion before, to go back to at once
        self._ended = threading.Event()
        self._shown = ShownModel()

    def start(self) -> None:
        """Refresh now, and then twice a second until `stop`.

        Halts are followed by a thread of their own: loading a model delays none.
        """
        self._look()
        for name, look in (("releases", self._look), ("halts", self._look_at_halts)):
            thread = threading.Thread(
                target=self._follow, args=(look,), name=f"hone-{name}", daemon=True
            )
            thread.start()

    def stop(self) -> None:
        """Stop refreshing; the active models stay."""
        self._ended.set()

    def refresh(self) -> None:
        """Activate the newest release, if it is another one and its model works.

        The old model answers until the new one was loaded, checked and has predicted once. A
        challenger or front model that fails is a problem to show, and the champion answers alone.
        """
        try:
            current = current_release(self._engine)
            self._follow_halt(current_halt(self._engine))
        except SQLAlchemyError as error:
            return self._report(f"the database does not answer ({error.__class__.__name__})")
        except ValueError as error:
            return self._report(f"the newest release is not served: {error}")
        if current is None:
            return self._report("no model is released yet: `hone retrain` makes and releases one")
        if current.number != self.active.release or self._is_due():
            self._activate(current)
        else:
            self._report(self._standing)
        return None

    def load(self, version: str) -> LoadedModel:
        """A model of the workspace, released or not."""
        return load_model(self._engine, self._bento_home, version)

    def _look_at_halts(self) -> None:
        try:
            self._follow_halt(current_halt(self._engine))
        except (SQLAlchemyError, ValueError) as error:
            self._report(f"the database does not answer ({error.__class__.__name__})")

    def _follow_halt(self, halt: Halt | None) -> None:
        with self._changing:
            if halt == self.active.halt:
                return
            self.active = replace(self.active, halt=halt)
        if halt is None:
            logger.warning("the service answers again")
        else:
            logger.warning("the service is halted (%s) by %s: %s", halt.policy, halt.who, halt.why)

    def _activate(self, current: Release) -> None:
        if current.number != self._tried:
            self._tried, self._failed = current.number, {}
        champion = self._usable(current.champion)
        if champion is None:
            return self._report(f"release {current.number} is not served: {self._causes()}")
        challenger = self._usable(current.challenger) if current.challenger else None
        front = self._usable(current.front) if current.front else None
        if self._failed:
            self._standing = f"release {current.number} is served in part: {self._causes()}"
        else:
            self._standing = None
        before = self.active.model
        if before is not None and before.version != champion.version:
            self._former = before
        self._change(
            model=champion,
            release=current.number,
            challenger=challenger,
            mode=current.mode if challenger else Mode.OFF,
            share=current.share if challenger else 0.0,
            front=front,
            front_threshold=current.front_threshold if front else None,
        )
        self._report(self._standing)
        beside_it = f", {current.mode} {challenger.version}" if challenger else ""
        logger.info("serving %s%s (release %d)", champion.version, beside_it, current.number)
        return None

    def _usable(self, version: str) -> LoadedModel | None:
        """A model that is loaded and has predicted once; None of one that failed lately."""
        active = self.active
        for model in (active.model, active.challenger, active.front, self._former):
            if model is not None and model.version == version:
                return model
        if version in self._failed and time.monotonic() < self._failed[version][0]:
            return None
        try:
            model = self.load(version)
            try_out(model, threads=self._threads)
        except Exception as error:  # any failure of the new model leaves the old one active
            self._failed[version] = (time.monotonic() + RETRY_SECONDS, str(error))
            return None
        self._failed.pop(version, None)
        # Torch answers first, and another runtime once it is chosen and loaded: nothing waits.
        return self._runtimes.attach(model) if self._runtimes else model

    def _is_due(self) -> bool:
        """Whether a model of the active release failed, and is to be tried again."""
        return any(time.monotonic() >= retry for retry, _ in self._failed.values())

    def _change(self, **values: Any) -> None:
        with self._changing:
            self.active = replace(self.active, **values)

    def _causes(self) -> str:
        return "; ".join(cause for _, cause in self._failed.values())

    def _report(self, problem: str | None) -> None:
        if problem and problem != self.active.problem:
            logger.warning(problem)
        self._change(problem=problem)

    def _follow(self, look: Callable[[], None]) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            try:
                look()
            except Exception:  # a thread that ends would follow no release and no halt any more
                logger.exception("the newest release and halt could not be looked up")

    def _look(self) -> None:
        self.refresh()
        active = self.active
        version = active.model.version if active.model else None
        self._shown.show(version, active.release, active.problem)


def try_out(model: LoadedModel, *, threads: int) -> None:
    """Predict one grey image; a model that fails is an error, and not served."""
    size = model.card.image_size
    grey = torch.full((1, 3, size, size), 128, dtype=torch.uint8)
    outputs = predict(model.network, grey, threads=threads, name=model.version).outputs
    problems = model.card.label_kind.problems(outputs, 1, model.card.classes)
    if problems:
        raise ValueError(f"{model.version}: {'; '.join(problems)}; train it again")
