"""Runtimes for the models of a service, chosen and loaded while torch answers."""

import logging
import queue
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.runtimes.choice import EAGER
from models.runtimes.loading import eager, load_chosen, source_of
from models.runtimes.policy import Policy
from models.runtimes.probe_process import ProbeFailed, choose
from models.runtimes.served import ServedRuntime

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel

logger = logging.getLogger("hone.service")


class RuntimeChooser:
    """Gives each model a runtime that answers at once, and replaces what computes in it later.

    Without a record for this machine a probe is made, in another process. One thread does it all,
    so that a release waits for nothing.
    """

    def __init__(
        self, home: Path, *, policy: Policy, threads: int, traffic: Path | None = None
    ) -> None:
        self._home, self._policy, self._threads = home, policy, threads
        self._traffic = traffic
        self._waiting: queue.SimpleQueue[tuple[weakref.ref[ServedRuntime], LoadedModel] | None] = (
            queue.SimpleQueue()
        )
        self._ended = False
        if policy != Policy.TORCH:
            threading.Thread(target=self._work, name="hone-runtimes", daemon=True).start()

    def attach(self, model: "LoadedModel") -> "LoadedModel":
        """The model with a runtime: eager torch until the one for this machine is loaded."""
        if self._policy == Policy.TORCH:
            return model
        runtime = eager(model, threads=self._threads)
        self._waiting.put((weakref.ref(runtime), model))
        return replace(model, runtime=runtime)

    def stop(self) -> None:
        """Load no further runtime."""
        self._ended = True
        self._waiting.put(None)

    def status(self, model: "LoadedModel | None") -> dict[str, Any]:
        """The runtime of a model as JSON: which one answers, how much faster, and what failed."""
        runtime = model.runtime if model else None
        if not isinstance(runtime, ServedRuntime):
            return {"policy": str(self._policy), "name": EAGER}
        choice = runtime.choice
        shown: dict[str, Any] = {"policy": str(self._policy), "name": runtime.name}
        if choice is not None:
            shown |= {
                "by_batch": {str(size): one.runtime for size, one in sorted(choice.sizes.items())},
                "speed_up": round(choice.speed_up, 2),
                "choice": choice.sentence(),
            }
        return {**shown, "settled": runtime.settled, "problem": runtime.problem}

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None and not self._ended:
            reference, model = waiting
            runtime = reference()
            if runtime is None:  # another model answers by now
                continue
            try:
                self._choose(runtime, model)
            except Exception as error:  # torch goes on answering; the thread goes on, too
                known = isinstance(error, ProbeFailed)
                runtime.problem = str(error) if known else f"{type(error).__name__}: {error}"
                logger.warning("%s is served with torch: %s", model.version, runtime.problem)
            runtime.settled = True

    def _choose(self, runtime: ServedRuntime, model: "LoadedModel") -> None:
        choice = choose(
            model,
            self._home,
            policy=self._policy,
            threads=self._threads,
            traffic=self._traffic,
            nice=True,
        )
        source = source_of(model, self._home, threads=self._threads)
        chosen, problems = load_chosen(choice, source, model.card.image_size)
        runtime.use(chosen, choice)
        logger.info("%s is served with %s", model.version, choice.sentence())
        if problems:
            runtime.problem = "; ".join(problems)
            logger.warning("%s: %s", model.version, runtime.problem)
