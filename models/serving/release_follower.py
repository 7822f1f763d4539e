"""The model that answers: it follows the newest release, except to a model that fails its test.

It follows halts, too: whether the service answers at all.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.registry.halts import Halt, current_halt
from models.registry.model_store import LoadedModel, load_model
from models.registry.versions import current_release
from models.scoring.predict import predict
from models.serving.metrics import ShownModel

REFRESH_SECONDS = 1.0  # between looks at the newest release
RETRY_SECONDS = 30.0  # until a model that could not be loaded is tried again

logger = logging.getLogger("hone.service")


@dataclass(frozen=True)
class ActiveModel:
    """The model that answers now, its release, the problem with a newer one, and a halt."""

    model: LoadedModel | None
    release: int | None = None
    problem: str | None = None
    halt: Halt | None = None


class ReleaseFollower:
    """Keeps `active` at the newest release in a background thread, from `start` to `stop`."""

    def __init__(self, engine: Engine, bento_home: Path, *, threads: int) -> None:
        self.active = ActiveModel(None, problem="not started yet")
        self._engine = engine
        self._bento_home = bento_home
        self._threads = threads
        self._failed = (0, 0.0)  # the last release that failed, and when it is tried again
        self._ended = threading.Event()
        self._shown = ShownModel()

    def start(self) -> None:
        """Refresh now, and then every second until `stop`."""
        self._look()
        threading.Thread(target=self._follow, name="hone-follower", daemon=True).start()

    def stop(self) -> None:
        """Stop refreshing; the active model stays."""
        self._ended.set()

    def refresh(self) -> None:
        """Activate the newest release, if it is another one and its model works.

        The old model answers until the new one was loaded, checked and has predicted once.
        """
        try:
            current, halt = current_release(self._engine), current_halt(self._engine)
        except SQLAlchemyError as error:
            return self._report(f"the database does not answer ({error.__class__.__name__})")
        self._follow_halt(halt)
        if current is None:
            return self._report("no model is released yet: `hone retrain` makes and releases one")
        if current.number == self.active.release:
            self.active = replace(self.active, problem=None)
            return None
        if (
            self._failed
            and self._failed[0] == current.number
            and time.monotonic() < self._failed[1]
        ):
            return None
        self._activate(current.champion, current.number)
        return None

    def load(self, version: str) -> LoadedModel:
        """A model of the workspace, released or not."""
        return load_model(self._engine, self._bento_home, version)

    def _follow_halt(self, halt: Halt | None) -> None:
        if halt == self.active.halt:
            return
        self.active = replace(self.active, halt=halt)
        if halt is None:
            logger.warning("the service answers again")
        else:
            logger.warning("the service is halted (%s) by %s: %s", halt.policy, halt.who, halt.why)

    def _activate(self, version: str, number: int) -> None:
        model = self.active.model
        try:
            if model is None or model.version != version:
                model = self.load(version)
                try_out(model, threads=self._threads)
        except Exception as error:  # any failure of the new model leaves the old one active
            self._failed = (number, time.monotonic() + RETRY_SECONDS)
            return self._report(f"release {number} is not served: {error}")
        self.active = ActiveModel(model, number, halt=self.active.halt)
        logger.info("serving %s (release %d)", version, number)
        return None

    def _report(self, problem: str) -> None:
        if problem != self.active.problem:
            logger.warning(problem)
        self.active = replace(self.active, problem=problem)

    def _follow(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            try:
                self._look()
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
