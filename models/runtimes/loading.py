"""The runtimes of a choice, loaded for a model: the service and batch scoring have the same."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.runtimes.candidates import CANDIDATES, Source
from models.runtimes.choice import EAGER, Choice, load_choice, model_folder
from models.runtimes.export import export
from models.runtimes.policy import Policy
from models.runtimes.runtime import Runtime, Torch
from models.runtimes.served import ServedRuntime

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel


def source_of(model: "LoadedModel", home: Path, *, threads: int) -> Source:
    """The model as runtimes take it; its export is below `home`, the folder of all runtimes."""
    folder = model_folder(home, model.version)

    def exported() -> Path:
        return export(model.network, model.card.image_size, folder, digest=model.sha256)

    return Source(model.network, model.version, threads, exported)


def eager(model: "LoadedModel", *, threads: int) -> ServedRuntime:
    """The model's runtime before a choice: eager torch."""
    return ServedRuntime(Torch(model.network, threads=threads, version=model.version))


def load_chosen(
    choice: Choice, source: Source, image_size: int
) -> tuple[dict[int, Runtime], list[str]]:
    """The runtime of each size of batch, and why others that were chosen are not there.

    Each has predicted a batch of its sizes: the first takes longer than all that follow.
    """
    loaded: dict[str, Runtime] = {}
    problems: list[str] = []
    chosen: dict[int, Runtime] = {}
    for name in choice.runtimes:
        if name == EAGER:
            continue
        sizes = [size for size, timed in choice.sizes.items() if timed.runtime == name]
        try:
            loaded[name] = CANDIDATES[name].load(source)
            for size in sizes:
                loaded[name].predict(torch.zeros(size, 3, image_size, image_size).byte())
        except Exception as error:  # of an engine: whatever it raises, torch answers
            problems.append(f"{name} was chosen and cannot be used: {error}")
            continue
        chosen |= dict.fromkeys(sizes, loaded[name])
    return chosen, problems


def served_as_chosen(
    model: "LoadedModel", home: Path, *, policy: Policy, threads: int
) -> ServedRuntime | None:
    """The runtime that serves the model on this machine; None while that is eager torch."""
    if policy == Policy.TORCH:
        return None
    folder = model_folder(home, model.version)
    choice = load_choice(folder, model.sha256, policy, threads=threads)
    if choice is None or choice.runtimes == [EAGER]:
        return None
    chosen, problems = load_chosen(
        choice, source_of(model, home, threads=threads), model.card.image_size
    )
    for problem in problems:
        print(f"{model.version}: {problem}; torch answers in its place")
    if not chosen:
        return None
    runtime = eager(model, threads=threads)
    runtime.use(chosen, choice)
    return runtime
