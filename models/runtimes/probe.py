"""The choice of a runtime by measurement: the fastest for each size of batch that agrees.

Times are processor time of the whole process, measured in turns, so that neither another process
nor a slower moment of the machine favours one of them. Seconds are the wall clock's: a probe ends.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from models.kinds.kind import Kind
from models.runtimes.agreement import Agreement, compare
from models.runtimes.candidates import CANDIDATES, Candidate, Source
from models.runtimes.choice import EAGER, Timed
from models.runtimes.policy import Policy
from models.runtimes.runtime import Runtime
from models.scoring.predict import Predictions

SIZES = (1, 2, 4, 8, 16, 32, 64)  # of batches; larger ones are split
ORDER = (1, 16, 64, 4, 2, 8, 32)  # in which they are measured, as long as there is time
TIMING_SECONDS = 5.0
AGREEMENT_SECONDS = 8.0
ROUNDS = 7  # of one size at most: two that are still as fast are equally good
MIN_ROUNDS = 3  # after one to warm up; the median of fewer says little
CLEAR = 1.1  # the fastest is known when the next one takes so many times as long
HOPELESS = 1.6  # a runtime that takes so many times as long is not measured further
WORTH_IT = 1.1  # less is no reason to leave torch
LIKE = 1.05  # of two so close the one that answers other sizes, too: fewer copies of the weights
FIRST_IMAGES = 8  # on which all must agree before any is measured
LEAST_IMAGES = 64  # whose answers are compared, however long they take

Clock = Callable[[], float]  # seconds of processor time


@dataclass(frozen=True)
class Probed:
    """What a probe measured and chose."""

    sizes: dict[int, Timed]
    agreement: dict[str, Agreement]
    dropped: dict[str, str]
    seconds: float


def probe(
    source: Source,
    images: torch.Tensor,
    kind: Kind,
    classes: Sequence[str],
    *,
    policy: Policy = Policy.AUTO,
    real: bool = True,
    candidates: Mapping[str, Candidate] = CANDIDATES,
    clock: Clock = time.process_time,
) -> Probed:
    """The fastest runtime for each size of batch among those that agree with eager torch.

    `images` are uint8 [n, 3, s, s]. Where they are not `real` pictures agreement on them says
    little, and only runtimes in fp32 are candidates.
    """
    began = time.monotonic()
    loaded, dropped = _load(source, policy, real, candidates)
    _drop_wrong(loaded, dropped, lambda rows: compare(*rows, kind, classes), images[:FIRST_IMAGES])
    times = _measure(loaded, images, clock)
    agreement: dict[str, Agreement] = {}
    reference: Predictions | None = None
    ends = 0.0
    while True:
        sizes = _choose(times, set(loaded), policy)
        answering = {timed.runtime for timed in sizes.values()}
        unknown = sorted(answering - {EAGER} - set(agreement))
        if not unknown:
            break
        if reference is None:
            ends = time.monotonic() + AGREEMENT_SECONDS
            seconds = AGREEMENT_SECONDS / (2 + len(unknown))
            reference = _predictions(loaded[EAGER], images, [max(SIZES)], seconds=seconds)
        for name in unknown:
            served = [size for size, timed in sizes.items() if timed.runtime == name]
            try:
                part = images[: len(reference)]
                seconds = (ends - time.monotonic()) / 2  # what is left may have to do for another
                rows = _predictions(loaded[name], part, served, seconds=seconds)
                agreement[name] = compare(reference.first(len(rows)), rows, kind, classes)
                problem = agreement[name].problem()
            except Exception as error:  # of an engine: whatever it raises, it does not answer
                problem = _cause(error)
            if problem:
                dropped[name] = problem
                del loaded[name]
    agreement = {name: one for name, one in agreement.items() if name in answering}
    return Probed(sizes, agreement, dropped, time.monotonic() - began)


def _load(
    source: Source, policy: Policy, real: bool, candidates: Mapping[str, Candidate]
) -> tuple[dict[str, Runtime], dict[str, str]]:
    """The runtimes that load and predict one image, and why the others do not."""
    loaded: dict[str, Runtime] = {}
    dropped: dict[str, str] = {}
    for name, candidate in candidates.items():
        if name != EAGER and not policy.allows(candidate.family):
            continue
        missing = candidate.missing()
        if missing is None and candidate.bf16 and not real:
            missing = "too few real images to compare answers on"
        if missing is not None:
            dropped[name] = missing
            continue
        try:
            loaded[name] = candidate.load(source)
        except Exception as error:
            if name == EAGER:
                raise
            dropped[name] = _cause(error)
    return loaded, dropped


def _drop_wrong(
    loaded: dict[str, Runtime],
    dropped: dict[str, str],
    compared: Callable[[tuple[Predictions, Predictions]], Agreement],
    images: torch.Tensor,
) -> None:
    """Drop those that do not even agree on a few images: no time is spent on measuring them."""
    expected = loaded[EAGER].predict(images)
    for name in [name for name in loaded if name != EAGER]:
        try:
            problem = compared((expected, loaded[name].predict(images))).problem()
        except Exception as error:  # of an engine: whatever it raises, it does not answer
            problem = _cause(error)
        if problem:
            dropped[name] = problem
            del loaded[name]


def _measure(
    loaded: dict[str, Runtime], images: torch.Tensor, clock: Clock
) -> dict[int, dict[str, float]]:
    """Milliseconds of a batch by its size and by the runtime, as far as the time goes.

    A runtime that fails or falls far behind is left out of the sizes that follow.
    """
    ends = time.monotonic() + TIMING_SECONDS
    times: dict[int, dict[str, float]] = {}
    contenders = dict(loaded)
    for number, size in enumerate(ORDER):
        left = ends - time.monotonic()
        each = max((sum(one.values()) / 1000 / at for at, one in times.items()), default=0.0)
        if times and each * size * (MIN_ROUNDS + 1) > left:
            continue
        batch = _tiled(images, size)
        share = max(0.2, left / (len(ORDER) - number))
        times[size] = _race(contenders, batch, time.monotonic() + share, clock)
        if number:  # what is slow for one image may be fast for many
            contenders = {
                name: one
                for name, one in contenders.items()
                if name == EAGER or not all(_is_hopeless(name, of) for of in times.values())
            }
    return times


def _is_hopeless(name: str, times: Mapping[str, float]) -> bool:
    return times.get(name, float("inf")) > HOPELESS * min(times.values())


def _race(
    contenders: Mapping[str, Runtime], batch: torch.Tensor, ends: float, clock: Clock
) -> dict[str, float]:
    """The median milliseconds of each, measured in turns until the order is clear."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(1 + ROUNDS):
        for name in list(taken):
            began = clock()
            try:
                contenders[name].predict(batch)
            except Exception:
                if name == EAGER:
                    raise
                del taken[name]  # the comparison of answers would fail, too
                continue
            if turn:  # the first allocates memory and chooses kernels
                taken[name].append(1000 * (clock() - began))
        medians = sorted(median(times) for times in taken.values() if times)
        is_clear = len(medians) < 2 or medians[1] > CLEAR * medians[0]
        if turn >= MIN_ROUNDS and (is_clear or time.monotonic() > ends):
            break
    return {name: median(times) for name, times in taken.items()}


def _choose(
    times: Mapping[int, Mapping[str, float]], allowed: set[str], policy: Policy
) -> dict[int, Timed]:
    """The runtime of each size; a size without a measurement has that of the next smaller one."""
    measured = {
        size: {name: ms for name, ms in one.items() if name in allowed}
        for size, one in times.items()
    }
    measured = {size: one for size, one in measured.items() if len(one) > 1 or size == SIZES[0]}
    fastest = {size: _fastest(one, policy) for size, one in measured.items()}
    [(usual, _)] = Counter(fastest.values()).most_common(1)
    chosen: dict[int, Timed] = {}
    for size in SIZES:
        if size not in measured:
            smaller = chosen[size // 2]
            chosen[size] = Timed(smaller.runtime, 2 * smaller.ms, 2 * smaller.torch_ms)
            continue
        one, name = measured[size], fastest[size]
        is_like = EAGER != usual != name and one.get(usual, float("inf")) < LIKE * one[name]
        name = usual if is_like and name != EAGER else name
        chosen[size] = Timed(name, one[name], one[EAGER])
    return chosen


def _fastest(times: Mapping[str, float], policy: Policy) -> str:
    """The fastest; torch unless another is worth it. A policy that names one gets that one."""
    others = {name: ms for name, ms in times.items() if name != EAGER}
    if not others:
        return EAGER
    best = min(others, key=others.__getitem__)
    is_named = policy not in (Policy.AUTO, Policy.TORCH)
    return best if is_named or others[best] * WORTH_IT < times[EAGER] else EAGER


def _predictions(
    runtime: Runtime, images: torch.Tensor, sizes: Iterable[int], *, seconds: float = float("inf")
) -> Predictions:
    """The predictions for the images, in batches of these sizes by turns.

    With `seconds` only for the first of them that there is time for.
    """
    ends = time.monotonic() + seconds
    turns, parts, done = sorted(sizes), list[Predictions](), 0
    while done < len(images) and (done < LEAST_IMAGES or time.monotonic() < ends):
        size = turns[len(parts) % len(turns)]
        parts.append(runtime.predict(images[done : done + size]))
        done += size
    return Predictions.joined(parts)


def _tiled(images: torch.Tensor, size: int) -> torch.Tensor:
    return images[torch.arange(size) % len(images)].contiguous()


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
