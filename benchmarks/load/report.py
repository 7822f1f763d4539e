"""The table of a run: rates, latencies, errors and gaps by fault, memory, and broken promises."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.load.client import Sent
from benchmarks.load.faults import DRAIN, FULL, PARENT, RELEASE, STOP, WORKER, Fault
from benchmarks.load.promises import growth
from benchmarks.load.server import Usage

AFTER = 30.0  # seconds after a fault in which a failed request counts as its consequence
SHOWN = 20  # broken promises


def table(
    sent: Sequence[Sent],
    happened: Sequence[Fault],
    usage: Mapping[int, Sequence[Usage]],
    problems: Sequence[str],
    *,
    began: float,
    capacity: float | None,
    starts: int,
    disk: str,
) -> str:
    """All figures of a run as text."""
    seconds = max(one.ended for one in sent) - began
    expected = sum(one.is_as_expected for one in sent)
    measured = "not measured" if capacity is None else f"{capacity:.1f} requests/s"
    lines = [
        f"capacity {measured}; sent {len(sent)} in {seconds:.0f} s "
        f"({len(sent) / seconds:.1f}/s), {expected} answered as expected",
        f"disk: {disk}",
        f"server started {starts} times",
        "",
        _latencies("all", sent),
        _latencies("without a fault", [one for one in sent if _cause(one, happened) == "none"]),
        "",
        f"{'kind':12}" + "".join(f"{status:>12}" for status in _statuses(sent)),
    ]
    for kind in sorted({one.kind for one in sent}):
        counts = Counter(str(one.status or "no answer") for one in sent if one.kind == kind)
        lines.append(f"{kind:12}" + "".join(f"{counts[name]:12}" for name in _statuses(sent)))
    lines += ["", *_by_fault(sent, happened), "", *_memory(usage), ""]
    lines.append(f"broken promises: {len(problems)}")
    lines += [f"  {problem}" for problem in problems[:SHOWN]]
    return "\n".join(lines)


def _statuses(sent: Sequence[Sent]) -> list[str]:
    return sorted({str(one.status or "no answer") for one in sent})


def _latencies(name: str, sent: Sequence[Sent]) -> str:
    times = sorted(one.latency for one in sent if one.is_as_expected)
    if len(times) < 2:
        return f"latency, {name}: too few answers"
    cuts = statistics.quantiles(times, n=100)
    return (
        f"latency from the scheduled time, {name}: p50 {1000 * cuts[49]:.0f} ms, "
        f"p99 {1000 * cuts[98]:.0f} ms, longest {times[-1]:.1f} s"
    )


def _cause(one: Sent, happened: Sequence[Fault]) -> str:
    """The newest fault before the end of a request and not long before its beginning."""
    causes = [fault for fault in happened if one.due - AFTER <= fault.at <= one.ended]
    return causes[-1].kind if causes else "none"


def _by_fault(sent: Sequence[Sent], happened: Sequence[Fault]) -> list[str]:
    failed: Counter[str] = Counter()
    near: Counter[str] = Counter()
    for one in sent:
        cause = _cause(one, happened)
        near[cause] += 1
        failed[cause] += not one.is_as_expected
    ends = sorted(one.ended for one in sent if one.is_as_expected)
    ends.append(max(one.ended for one in sent))
    lines = [f"{'fault':18}{'times':>6}{'requests':>10}{'failed':>8}{'share':>8}{'gap: median':>13}"
             f"{'longest':>9}"]  # fmt: skip
    for kind in (WORKER, PARENT, STOP, FULL, RELEASE, DRAIN, "none"):
        gaps = [_gap(fault.at, ends) for fault in happened if fault.kind == kind]
        share = failed[kind] / near[kind] if near[kind] else 0.0
        seconds = f"{statistics.median(gaps):11.1f} s{max(gaps):7.1f} s" if gaps else ""
        lines.append(f"{kind:18}{len(gaps):6}{near[kind]:10}{failed[kind]:8}{share:8.1%}{seconds}")
    return lines


def _gap(at: float, ends: Sequence[float]) -> float:
    """The longest time without an expected answer that begins within AFTER of a fault."""
    inside = [end for end in ends if at <= end]
    gaps = [0.0]
    last = at
    for end in inside:
        gaps.append(end - last)
        if end > at + AFTER:
            break
        last = end
    return max(gaps)


def _memory(usage: Mapping[int, Sequence[Usage]]) -> list[str]:
    grown = [growth(values) for values in usage.values()]
    peak = max((one.memory for values in usage.values() for one in values), default=0)
    oldest = max((values[-1].age for values in usage.values()), default=0.0)
    return [
        f"workers {len(usage)}, oldest {oldest:.0f} s, largest {peak / 2**20:.0f} MiB; grown by at "
        f"most {max((memory for memory, _ in grown), default=0) / 2**20:.1f} MiB and "
        f"{max((files for _, files in grown), default=0)} open files"
    ]
