"""What computes the features of published weights: the fastest runtime whose features agree.

Each runtime at hand gives the features of some images; of those that agree with torch in fp32 the
one with the least processor time computes the rest. Runtimes beyond torch take a second or two to
load and to time, so that they are tried where many images are to be computed.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity

from core.files import write_atomically
from models.network.network import Network
from models.runtimes.candidates import CANDIDATES, Source
from models.runtimes.choice import EAGER
from models.runtimes.export import export
from models.runtimes.policy import Policy
from models.runtimes.runtime import Runtime
from models.scoring.predict import Compute, Predictions

TRIED = 32  # images that features are compared and timed on
TURNS = 2  # of them that are timed; the faster one counts
AT_ONCE = 64  # images of one forward pass in a runtime other than torch
AGREES = 0.99  # cosine of each image's features with those in fp32, at least
MANY = 1_000  # images from which on more than torch is tried
NOTE = "runtime.json"  # beside the features: which runtime computes them
BF16 = "torch bf16"
OF_TORCH = (EAGER, BF16)  # whose memory layout `predict` chooses itself


@dataclass(frozen=True)
class FeatureRuntime:
    """What computes features: torch in a precision, or what takes its place."""

    name: str = EAGER
    precision: str = "fp32"
    compute: Compute | None = None


class FeatureRuntimes:
    """The runtimes of one backbone on this machine; exports and the choice are in `folder`."""

    def __init__(
        self, network: Network, side: int, folder: Path, *, threads: int, policy: Policy
    ) -> None:
        self._network, self._side, self._folder = network, side, folder
        self._threads, self._policy = threads, policy

    def fastest(self, images: torch.Tensor, rows: int) -> FeatureRuntime:
        """What is to compute the features of so many images, of which `images` are some.

        The choice stays, so that features of few images are like those of many; it is made again
        where it names what is not at hand, and for MANY images if there were fewer before.
        """
        at_hand = [name for name in CANDIDATES if self._is_at_hand(name)]
        candidates = at_hand if rows >= MANY else [one for one in at_hand if one in OF_TORCH]
        noted = self._noted()
        if noted is not None and noted[0] in at_hand and set(candidates) <= set(noted[1]):
            return self._ready(noted[0])
        name, cosines = self._tried(candidates, images)
        note = {"runtime": name, "tried": candidates, "cosine": cosines}
        write_atomically(self._folder / NOTE, json.dumps(note).encode())
        return self._ready(name)

    def _is_at_hand(self, name: str) -> bool:
        candidate = CANDIDATES[name]
        is_torch = candidate.family == "torch"
        allowed = name in OF_TORCH if is_torch else self._policy.allows(candidate.family)
        return allowed and candidate.missing() is None

    def _noted(self) -> tuple[str, list[str]] | None:
        """What was chosen among what; None without a note, and when it is damaged."""
        try:
            note = json.loads((self._folder / NOTE).read_bytes())
            return str(note["runtime"]), [str(name) for name in note["tried"]]
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _ready(self, name: str) -> FeatureRuntime:
        if name == BF16:
            return FeatureRuntime(name, "bf16")
        if name == EAGER:
            return FeatureRuntime(name, "auto" if CANDIDATES[BF16].missing() else "fp32")
        runtime = self._loaded(name, self._threads)

        def compute(images: torch.Tensor) -> Predictions:
            return Predictions.joined([runtime.predict(part) for part in images.split(AT_ONCE)])

        return FeatureRuntime(name, compute=compute)

    def _loaded(self, name: str, threads: int) -> Runtime:
        def exported() -> Path:
            return export(self._network, self._side, self._folder, digest=self._folder.name)

        return CANDIDATES[name].load(Source(self._network, name, threads, exported))

    def _tried(self, candidates: list[str], images: torch.Tensor) -> tuple[str, dict[str, float]]:
        """The fastest that agrees, and how near each one's features are to those of torch."""
        seconds, cosines = dict[str, float](), dict[str, float]()
        expected: torch.Tensor | None = None
        for name in candidates:  # torch in fp32 is the first
            try:
                given, seconds[name] = _timed(self._loaded(name, 1), images)
            except Exception as error:  # of an engine: whatever it raises, another one computes
                if name == EAGER:
                    raise
                print(f"{name} cannot compute the pretrained features and is left out: {error}")
                continue
            expected = given if expected is None else expected
            cosines[name] = float(cosine_similarity(expected, given).min())
        return min(
            (name for name in cosines if name == EAGER or cosines[name] >= AGREES),
            key=seconds.__getitem__,
        ), cosines


def _timed(runtime: Runtime, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The features of the images, and the seconds of one turn once it is warm."""
    features, best = torch.empty(0), float("inf")
    for turn in range(TURNS + 1):
        began = time.process_time()
        features = torch.from_numpy(runtime.predict(images).embeddings)
        if turn:
            best = min(best, time.process_time() - began)
    return features, best
