"""What is known about annotators and labels, as tables for a screen and for Prefect."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST = 12  # rows of a table that may be long; --json has them all
NOTHING = "-"
Row = dict[str, str]


def show_annotators(report: dict[str, Any], console: Console | None = None) -> None:
    """Print who answered, how well, how fast, led by what; and what to look into."""
    screen = console or Console(highlight=False)
    if not report["annotators"]:
        screen.print("Nobody has answered anything yet.")
        return
    rows = annotator_rows(report)
    _print(screen, "Annotators", rows, ["annotator", "answers", "skips", *_KNOWN], most=len(rows))
    limit = report["fast_under"]
    _print(screen, "How they work", rows, ["annotator", *_WORK], most=len(rows))
    if limit:
        _say(screen, f"fast: under {limit:.1f} s (a quarter of the usual time, and 0.3 s at least)")
    mistakes = _mistakes(report["confusions"])
    _print(screen, "Most frequent mistakes", mistakes, ["annotator", "shows", "said", "times"])
    _conclude(screen, report["said"])


def show_quality(report: dict[str, Any], console: Console | None = None) -> None:
    """Print how the labels stand, how far people agree, and what to look into."""
    screen = console or Console(highlight=False)
    for line in _standing(report):
        _say(screen, line)
    counts, total = report["labels"]["balance"], report["labels"]["in_force"]
    classes = [
        {"class": row["name"], "labels": str(counts.get(row["name"], 0)),
         "share": f"{counts.get(row['name'], 0) / total:.0%}" if total else NOTHING,
         **_agreed(row)}
        for row in _lowest(report["agreement"]["classes"], "alpha")
    ]  # fmt: skip
    _print(screen, "Classes", classes, ["class", "labels", "share", *_AGREED])
    rounds = [{"round": row["name"], **_agreed(row)} for row in report["agreement"]["rounds"]]
    _print(screen, "Rounds", rounds[::-1], ["round", *_AGREED])
    pairs = [_pair(row) for row in _lowest(report["pairs"], "kappa")]
    _print(screen, "Pairs", pairs, list(pairs[0]) if pairs else [])
    refused = [
        {"refused": row["reason"], "annotator": row["annotator"] or NOTHING,
         "where and why": row["detail"] or NOTHING}
        for row in report["refused"]
    ]  # fmt: skip
    _print(screen, "Refused answers", refused, ["refused", "annotator", "where and why"])
    _conclude(screen, report["said"])


_KNOWN = ["right on gold", "as the others", "a vote counts"]
_WORK = ["seconds", "fast", "guess taken", "blind the same", "led by the guess"]
_AGREED = ["alpha", "samples", "in words"]
# What gives way on a narrow screen.
NAMES = {"annotator", "and", "class", "shows", "said", "round", "in words", "where and why"}


def annotator_rows(report: dict[str, Any]) -> list[Row]:
    """A row for everybody together and one for each person, in words and figures."""
    everybody = {**report["everybody"], "annotator": "everybody"}
    return [_person(row) for row in [everybody, *report["annotators"]]]


def agreement_rows(report: dict[str, Any]) -> list[Row]:
    """A row for the whole, each class, each round and each pair, in words and figures."""
    found = report["agreement"]
    alphas = [
        {"of": of, "name": row["name"], "measure": "alpha", "value": _share(row["alpha"]),
         "samples": str(row["samples"]), "in words": row["said"]}
        for of, rows in (
            ("all", [found["overall"]]), ("class", found["classes"]), ("round", found["rounds"])
        )
        for row in rows
    ]  # fmt: skip
    kappas = [
        {"of": "pair", "name": f"{row['one']}, {row['other']}", "measure": "kappa",
         "value": _share(row["kappa"]), "samples": str(row["samples"]), "in words": row["said"]}
        for row in report["pairs"]
    ]  # fmt: skip
    return alphas + kappas


def _person(row: dict[str, Any]) -> Row:
    known = _of(row["accuracy"], row["judged"])
    if row["judged"]:
        known = f"{known} ({row['accuracy_low']:.2f}-{row['accuracy_high']:.2f})"
    led = NOTHING
    if row["led"] is not None:
        led = f"{row['led']:+.2f} ({row['led_low']:+.2f}, {row['led_high']:+.2f})"
    return {
        "annotator": row["annotator"],
        "answers": str(row["answers"]),
        "skips": str(row["skips"]),
        "right on gold": known,
        "as the others": _of(row["with_others"], row["others"]),
        "a vote counts": _share(row["weight"]),
        "seconds": NOTHING if row["seconds"] is None else f"{row['seconds']:.1f}",
        "fast": NOTHING if row["fast"] is None else f"{row['fast']:.0%}",
        "guess taken": _of(row["accepted"], row["shown"]),
        "blind the same": _of(row["agreed"], row["blind"]),
        "led by the guess": led,
    }


def _mistakes(confusions: dict[str, Any]) -> list[Row]:
    """Who took which class for which, most often first."""
    found = [
        (times, sum(said.values()), name, truth, value)
        for name, truths in confusions.items()
        for truth, said in truths.items()
        for value, times in said.items()
        if value != truth
    ]
    return [
        {"annotator": name, "shows": truth, "said": value, "times": f"{times} of {seen}"}
        for times, seen, name, truth, value in sorted(found, key=lambda row: (-row[0], *row[1:]))
    ]


def _standing(report: dict[str, Any]) -> list[str]:
    standing, asked = report["labels"], report["assignments"]
    settled = ", ".join(f"{count} by {name}" for name, count in standing["methods"].items())
    refused = ", ".join(f"{n} {reason}" for reason, n in report["refused_answers"].items())
    disputed, waiting = asked["disputed"], asked["waiting_for_a_final_word"]
    return [
        f"labels       {standing['in_force']}" + (f": {settled}" if settled else ""),
        f"doubtful     {standing['under_threshold']} under a trust of {standing['threshold']:.2f}",
        f"assignments  {asked['sent']} sent, {asked['blind']} of them blind, "
        f"{asked['overlap']} for several people; {report['gold']} gold samples",
        f"asked again  {asked['asked_again']}; disputed {disputed}, waiting for a word {waiting}",
        f"refused      {refused or 'no answer'}",
    ]


def _pair(row: dict[str, Any]) -> Row:
    return {
        "annotator": row["one"],
        "and": row["other"],
        "kappa": _share(row["kappa"]),
        "same answer": _of(row["agreed"], row["samples"]),
        "in words": row["said"],
    }


def _agreed(row: dict[str, Any]) -> Row:
    return {
        "alpha": _share(row["alpha"]),
        "samples": str(row["samples"]),
        "in words": row["said"],
    }


def _lowest(rows: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The rows in their order if they fit, else the lowest first; what is missing comes last."""
    if len(rows) <= MOST:
        return list(rows)
    return sorted(rows, key=lambda row: (row[name] is None, row[name] or 0.0))


def _print(
    screen: Console, title: str, rows: Sequence[Row], columns: Sequence[str], *, most: int = MOST
) -> None:
    """A table whose names give way on a narrow screen, and its figures never."""
    if not rows:
        return
    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        show_edge=False, pad_edge=False,
    )  # fmt: skip
    for name in columns:
        words = name in NAMES
        table.add_column(
            name if words else name.replace(" ", "\n", 1),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
        )
    for row in rows[:most]:
        table.add_row(*(Text(row[name]) for name in columns))
    screen.print(table)
    if len(rows) > most:
        _say(screen, f"... and {len(rows) - most} more; --json has them all")


def _conclude(screen: Console, said: Sequence[str]) -> None:
    if said:
        _say(screen, "")
    for line in said:
        _say(screen, f"* {line}")


def _say(screen: Console, line: str) -> None:
    screen.print(Text(line))


def _of(share: float | None, rows: int) -> str:
    return NOTHING if share is None else f"{share:.2f} of {rows}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
