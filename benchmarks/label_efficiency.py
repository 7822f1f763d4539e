"""How many labels does choosing save? Every strategy of ours beside those of other libraries.

    python benchmarks/label_efficiency.py CIFAR10.zip --out labels.jsonl [--seeds 10]

The source is a ZIP or a folder of images of your own, `<class>/<file>` (with `train` and `test`
above the classes, or every sixth image is kept as the test). Features are taught on the pool's
images without labels, once, and kept in `--cache`: an hour on two cores (`--epochs 18` takes a
fifth of it, and a head on such features is right less often by a tenth). One line of JSON for each
regime, strategy and seed goes to `--out`; lines that are there are not run again, so it can be
stopped and started at will. At the end: a table and a picture.

`--development` plays with seeds from 100 on and is judged on images kept aside from every pool:
rules are made there, and reported with other seeds on the test images. `--setting network` trains a
small network at every step instead of a head on fixed features (hours). Random and random again are
played on four times as many seeds, for the gate. Peers take part where they are installed
(`pip install scikit-activeml modAL-python`).
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from label_features import Recipe
from label_peers import PEERS, REFUSED, Question
from label_regimes import NETWORK_REGIMES, REGIMES, Field, Head, Regime, Sea, field_of
from label_report import AGAIN, report

from labeling.strategies import STRATEGIES
from labeling.strategies.pool import Pool

CHANCE = ("random", AGAIN)
GATE = 4  # times as many seeds for these two: on ten alone, luck fails one regime of four


def main() -> None:
    """Play what is not yet in the output, then say how it went."""
    given = _arguments()
    known = REGIMES if given.setting == "head" else NETWORK_REGIMES
    regimes = [regime for regime in known if regime.name in given.regimes.split(",")]
    names = _names(given)
    if not given.report:
        sea, model = _world(given)
        seeds = [100 + seed if given.development else seed for seed in range(given.seeds)]
        print(f"load {os.getloadavg()[0]:.1f}; {len(names)} strategies, {len(seeds)} seeds")
        is_cheap = given.setting == "head" and {*CHANCE} <= {*names}
        more = range(seeds[-1] + 1, seeds[0] + GATE * len(seeds)) if is_cheap else ()
        for seed in [*seeds, *more]:
            for regime in regimes:
                playing = CHANCE if seed in more else names
                play_all(field_of(sea, regime, seed), regime, playing, seed, model, given)
        print(f"load {os.getloadavg()[0]:.1f}")
    report(list(lines(given)), regimes, REFUSED, given.picture)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a ZIP of images, or a folder of them")
    parser.add_argument("--setting", choices=["head", "network"], default="head")
    parser.add_argument("--out", type=Path, default=Path("label_efficiency.jsonl"))
    parser.add_argument("--picture", type=Path, default=Path("label_efficiency.png"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--epochs", type=float, default=Recipe().epochs, help="of the features")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--regimes", default=",".join(regime.name for regime in REGIMES))
    parser.add_argument("--strategies", help="names with commas between; else ours and all peers")
    parser.add_argument("--box", type=float, default=10.0, help="processor seconds for a query")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--report", action="store_true", help="play nothing, show what is there")
    return parser.parse_args()


def _names(given: argparse.Namespace) -> list[str]:
    """Whom to play: random first."""
    known = ["random", AGAIN, *(name for name in STRATEGIES if name != "random"), *PEERS]
    names = given.strategies.split(",") if given.strategies else known
    for name in set(names) - set(known):
        raise SystemExit(f"no strategy is called {name!r}; choose from {', '.join(known)}")
    return names


def _world(given: argparse.Namespace) -> tuple[Sea, Callable[[int], Any]]:
    """What there is to choose from, and what is trained on the labels, by its seed."""
    import torch
    from label_features import images_of, sea_of

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    where = (given.source, Recipe(epochs=given.epochs), given.cache)
    if given.setting == "head":
        sea = sea_of(*where, development=given.development)
        return sea, lambda seed: Head(int(sea.classes.max()) + 1)
    from label_network import Net

    sea, body = images_of(*where, development=given.development)
    return sea, lambda seed: Net(body, sea.features, int(sea.classes.max()) + 1, seed)


def play_all(
    field: Field,
    regime: Regime,
    names: Sequence[str],
    seed: int,
    model: Callable[[int], Any],
    given: argparse.Namespace,
) -> None:
    """Every strategy on this seed's field, but for those that were played or given up."""
    found = list(lines(given))
    played = {(one["regime"], one["strategy"], one["seed"]) for one in found}
    given_up = {(one["regime"], one["strategy"]) for one in found if "refused" in one}
    for name in names:
        if (regime.name, name, seed) in played or (regime.name, name) in given_up:
            continue
        line = {"setting": given.setting, "epochs": given.epochs, "regime": regime.name}
        line |= {"strategy": name, "seed": seed}
        line |= play(field, regime, name, seed, model(seed), given.box)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        last = line.get("refused") or f"{line['accuracy'][-1]:.3f}, {line['seconds']:.2f} s a query"
        print(f"{seed} {regime.name} {name}: {last}", flush=True)


def lines(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the output has already of this setting and these features."""
    if given.out.exists():
        found = (json.loads(line) for line in given.out.read_text().splitlines())
        wanted = given.setting, given.epochs
        yield from (one for one in found if (one["setting"], one["epochs"]) == wanted)


def play(
    field: Field, regime: Regime, name: str, seed: int, model: Any, box: float
) -> dict[str, Any]:
    """The accuracy at every number of labels, or why the strategy cannot be played."""
    choose = chooser(name)
    asked = field.start
    rng = np.random.default_rng([seed, 1 if name != AGAIN else 2])
    accuracy, seconds = [], []
    for labels in regime.steps:
        model.fit(field.features[asked], field.classes[asked])
        said = model.head.probs(model.embed(field.test_features))
        accuracy.append(round(float((said.argmax(axis=1) == field.test_classes).mean()), 5))
        if labels == regime.budget:
            break
        free = np.setdiff1d(np.arange(len(field.classes)), asked)
        seed_now, blind = int(rng.integers(2**31)), name in CHANCE
        question = _question(model, field, free, asked, regime.batch, seed_now, blind=blind)
        began = time.process_time()
        try:
            rows = boxed(choose, question, box)
        except Exception as error:  # a peer may fail in any way; that it did is the finding
            return {"refused": f"{type(error).__name__}: {error}"[:300], "labels_then": labels}
        seconds.append(time.process_time() - began)
        if len(np.unique(rows)) != regime.batch:
            return {"refused": f"gave {len(np.unique(rows))} samples instead of {regime.batch}"}
        asked = np.concatenate([asked, free[rows]])
    return {
        "labels": regime.steps,
        "accuracy": accuracy,
        "seconds": round(float(np.mean(seconds)), 4),
        "asked": np.bincount(field.classes[asked], minlength=model.classes).tolist(),
    }


def _question(
    model: Any, field: Field, free: np.ndarray, asked: np.ndarray, size: int, seed: int,
    *, blind: bool,
) -> Question:  # fmt: skip
    """What is asked; a network need not look at the pool for who draws lots."""
    seen = np.empty((len(free), 0)) if blind else model.embed(field.features[free])
    labelled = seen[:0] if blind or not len(asked) else model.embed(field.features[asked])
    return Question(model.head, seen, labelled, field.classes[asked], size, seed)


def chooser(name: str) -> Callable[[Question], np.ndarray]:
    """What answers a question by this name."""
    if name in PEERS:
        return PEERS[name]
    strategy = STRATEGIES["random" if name == AGAIN else name]

    def choose(question: Question) -> np.ndarray:
        rng = np.random.default_rng(question.seed)
        draws = (
            question.head.draws(question.free, 10, rng) if "ensemble" in strategy.needs else None
        )
        probs = question.head.probs(question.free) if question.free.shape[1] else None
        pool = Pool(probs, question.free, draws, question.labelled, question.labels)
        return strategy.choose(pool, question.size, rng).rows

    return choose


def boxed(
    choose: Callable[[Question], np.ndarray], question: Question, seconds: float
) -> np.ndarray:
    """Its answer, or TimeoutError once it has used so much processor time."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"a query took more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return choose(question)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


if __name__ == "__main__":
    main()
