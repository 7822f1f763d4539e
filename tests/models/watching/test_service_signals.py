from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from core.image_statistics import STATISTICS
from models.watching.service_signals import Requests, excess_p, service_signals, unexpected
from models.watching.signals import Shift, Signal, WatchPolicy, Window

POLICY = WatchPolicy()
NAMES = ["lag", "broken", "schema", "refused", "errors", "latency"]


def traffic(rows: int, seed: int, broken: int = 0) -> Window:
    """JPEG files of 300 to 600 pixels of two cameras; sizes are logarithms of 2."""
    rng = np.random.default_rng(seed)
    statistics = rng.normal(size=(rows, len(STATISTICS)))
    statistics[:, STATISTICS.index("format")] = 0
    for name in ("width", "height"):
        statistics[:, STATISTICS.index(name)] = np.log2(rng.integers(300, 600, rows))
    statistics[:, STATISTICS.index("aspect")] = rng.random(rows)
    statistics[:, STATISTICS.index("bytes_per_pixel")] = 1 + rng.random(rows)
    return Window.of(
        np.full((rows, 2), 0.5), rng.normal(size=(rows, 3)), statistics,
        sources=np.where(np.arange(rows) % 2, "left", "right"), broken=broken,
    )  # fmt: skip


def run(window: Window, state: dict | None = None, **more) -> tuple[dict[str, Signal], dict]:
    signals, state = service_signals(
        traffic(400, 0), window, state or {}, policy=POLICY, rng=np.random.default_rng(1), **more
    )
    assert [signal.name for signal in signals] == NAMES
    return {signal.name: signal for signal in signals}, state


CALM = Requests(answered=980, refused=10, errors=10, latencies=np.linspace(0.01, 0.02, 200))


def test_usual_traffic_is_quiet_and_what_was_not_read_cannot_tell() -> None:
    signals, state = run(traffic(200, 1))
    assert signals["broken"].outcome == signals["schema"].outcome == Shift.NONE
    for name in ("lag", "refused", "errors", "latency"):
        assert (signals[name].outcome, signals[name].evidence) == (Shift.UNKNOWN, 0.0)
    signals, _ = run(traffic(200, 2), state, lag_hours=1.5, requests=CALM)
    assert {signal.outcome for signal in signals.values()} == {Shift.NONE}


@pytest.mark.parametrize(
    ("name", "window", "more"),
    [
        ("lag", traffic(200, 9), {"lag_hours": 2.5}),
        ("broken", traffic(200, 9, broken=20), {}),
        ("refused", traffic(200, 9), {"requests": replace(CALM, refused=60)}),
        ("errors", traffic(200, 9), {"requests": replace(CALM, errors=60)}),
        ("latency", traffic(200, 9), {"requests": replace(CALM, latencies=np.full(50, 0.09))}),
    ],
)
def test_each_fault_is_a_signal_of_its_own(name: str, window: Window, more: dict) -> None:
    _, state = run(traffic(200, 1), requests=CALM)
    more = {"lag_hours": 1.0, "requests": CALM, **more}
    signals, _ = run(window, state, **more)
    assert {one.name for one in signals.values() if one.outcome == Shift.DRIFT} == {name}
    assert signals[name].evidence > 2 or name == "lag"  # lag is no matter of chance


@pytest.mark.parametrize(
    ("name", "value"), [("format", 1.0), ("width", 11.0), ("height", 6.0), ("aspect", 2.5)]
)
def test_a_format_or_size_that_the_reference_has_not_breaks_the_schema(name, value) -> None:
    window = traffic(200, 1)
    window.statistics[:12, STATISTICS.index(name)] = value
    signals, _ = run(window)
    assert signals["schema"].outcome == Shift.DRIFT
    assert set(signals["schema"].exemplars) == set(range(9))
    assert unexpected(traffic(400, 0), window).sum() == 12


def test_an_image_of_twice_the_size_is_expected() -> None:
    window = traffic(200, 1)
    window.statistics[:12, STATISTICS.index("width")] = np.log2(1100)
    assert not unexpected(traffic(400, 0), window).any()


def test_a_new_source_is_named_once_there_were_others() -> None:
    _, state = run(traffic(200, 1))
    stranger = replace(traffic(200, 2), sources=np.array(["left"] * 170 + ["attic"] * 30))
    signals, state = run(stranger, state)
    assert signals["schema"].outcome == Shift.DRIFT
    assert "new sources: attic" in signals["schema"].meaning
    signals, _ = run(stranger, state)
    assert signals["schema"].outcome == Shift.NONE


def test_one_broken_row_an_hour_is_learnt_as_usual() -> None:
    state: dict = {}
    for hour in range(200):
        signals, state = run(traffic(60, hour, broken=1), state)
        assert signals["broken"].outcome == Shift.NONE
        assert signals["broken"].accumulated < np.log(2160)


def test_bursts_that_are_usual_here_do_not_alarm() -> None:
    state: dict = {}
    highest = 0.0
    for hour in range(120):
        signals, state = run(traffic(60, hour, broken=12 * (hour % 6 == 5)), state)
        if hour > 60:
            highest = max(highest, signals["broken"].accumulated)
    assert highest < np.log(2160)
    signals, _ = run(traffic(60, 7, broken=60), state)
    assert signals["broken"].evidence > 2


def test_the_p_values_of_one_window_after_another_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p_values, hits, rows = [], 0, 0
    for count in rng.binomial(50, 0.04, size=600):
        p_values.append(excess_p(int(count), 50, hits, rows, rng))
        hits, rows = hits + int(count), rows + 50
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p_values[1:], p_values[:-1])[0, 1]) < 0.1


def test_nothing_that_came_in_cannot_tell() -> None:
    signals, _ = run(traffic(0, 1), requests=Requests(answered=0))
    assert {signal.outcome for signal in signals.values()} == {Shift.UNKNOWN}
