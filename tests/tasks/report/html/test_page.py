"""The page of a workspace: complete, escaped, reachable for everybody, bounded, and of one file."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from core.database import writing
from core.git import git
from core.workspace import init_workspace
from labeling.ledger.tables import labels, sources
from models.registry.releases import releases
from models.serving.prediction_store import predictions
from models.serving.traffic_history import TrafficSample
from models.watching.decision_history import PastCheck, PastSignal
from models.watching.decisions import decisions
from tasks.context import open_context
from tasks.report.html.gather import MOST_CHECKS, MOST_RELEASES
from tasks.report.html.page import LARGEST, SECTIONS, page, write_report
from tasks.report.html.style import DARK, LIGHT, WORDS
from tests.tasks.operate.sound_workspace import make_sound_workspace
from tests.tasks.report.html.facts import EMPTY, full_facts

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' onload='alert(3)\x1b[2J\u202e"
VOID = {"meta", "img", "rect", "line", "path", "circle"}


class Reader(HTMLParser):
    """The elements of a page with their attributes, its text, and tags that do not match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def runs_or_fetches(read: Reader) -> list[str]:
    """What in a page a browser would run, or ask another host for."""
    wrong = [tag for tag, _ in read.elements if tag in ("script", "iframe", "object", "link")]
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            address = name in ("src", "href", "xlink:href", "action", "data")
            inside = str(value).startswith(("data:image/png", "data:image/jpeg", "#"))
            if name.startswith("on") or (address and not inside):
                wrong.append(f"{tag} {name}={value}")
    return wrong


def report_of(root: Path, monkeypatch: pytest.MonkeyPatch, out: Path | None = None) -> Reader:
    monkeypatch.setenv("HONE_WORKSPACE", str(root))
    ctx = open_context()
    path = write_report(ctx, out, days=100 * 366)  # its traffic has a date of its own
    ctx.engine.dispose()
    return Reader(path.read_text(encoding="utf-8"))


def test_the_page_of_a_workspace_in_which_everything_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_sound_workspace(tmp_path / "work")
    read = report_of(workspace.root, monkeypatch)
    assert (workspace.root / "reports" / "report.html").is_file()
    assert git(workspace.root, "status", "--porcelain") == ""
    for words in ("hone:0001-", "2 predictions in", "no drift", "snapshot-0001", "hone retrain"):
        assert words in read.text, words
    assert {one["id"] for one in read.all("section")} == set(SECTIONS)
    assert not runs_or_fetches(read)
    assert not read.wrong and not read.open


def test_an_empty_workspace_says_of_each_part_what_would_bring_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = init_workspace(tmp_path / "empty", ["cat", "dog"])
    text = report_of(workspace.root, monkeypatch, tmp_path / "out" / "page.html").text
    for words in ("hone ingest PATH", "bentoml serve", "hone watch", "hone retrain", "hone collect",
                  "hone budget", "hone feedback FILE", "HONE_ALERTS", "none yet"):  # fmt: skip
        assert words in text, words


def test_what_strangers_wrote_is_text_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    ctx = open_context()
    with writing(ctx.engine) as connection:
        connection.execute(update(predictions).values(label=EVIL))
        connection.execute(update(releases).values(who=EVIL, why=EVIL))
        connection.execute(update(decisions).values(reason=EVIL))
        connection.execute(update(labels).values(label=EVIL))
        connection.execute(update(sources).values(path=EVIL))
    named = replace(ctx, workspace=replace(ctx.workspace, title=EVIL))
    read = Reader(write_report(named, days=100 * 366).read_text(encoding="utf-8"))
    ctx.engine.dispose()
    assert not runs_or_fetches(read)
    assert read.text.count("<script>alert(1)</script>") >= 4
    assert "\x1b" not in read.text and "\u202e" not in read.text


def test_no_text_of_any_part_becomes_html() -> None:
    read = Reader(page(full_facts(EVIL)))
    assert not runs_or_fetches(read)
    assert not read.wrong and not read.open
    assert len(read.elements) == len(Reader(page(full_facts("cat"))).elements)


def test_the_page_is_bounded_whatever_is_in_the_workspace() -> None:
    noise = np.random.default_rng(0).bytes(20_000)  # more than a picture of 128 pixels has
    facts = full_facts("w" * 5_000, count=MOST_CHECKS, classes=1_000, picture=noise)
    assert facts.judged is not None
    many = replace(facts.judged, mistakes=facts.judged.mistakes[:1] * 18)
    facts = replace(
        facts,
        releases=facts.releases[:MOST_RELEASES],
        verdicts=facts.verdicts[:MOST_RELEASES],
        judged=many,
        champion_judged=many,
    )
    assert len(page(facts).encode()) < LARGEST


@pytest.mark.parametrize("facts", [EMPTY, full_facts()], ids=["empty", "full"])
def test_the_page_is_for_those_who_do_not_see_it_too(facts: object) -> None:
    content = page(facts)  # type: ignore[arg-type]
    read = Reader(content)
    assert read.all("html")[0]["lang"] == "en"
    assert all(one.get("alt") for one in read.all("img"))
    drawings = [one for one in read.all("svg") if one.get("aria-hidden") != "true"]
    assert all(one.get("aria-label") and one.get("role") == "img" for one in drawings)
    assert all(one.get("scope") for one in read.all("th"))
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [one["id"] for _, one in read.elements if "id" in one]
    assert len(ids) == len(set(ids))
    targets = {str(one["href"])[1:] for one in read.all("a")}
    assert targets <= set(ids)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(colours: dict[str, str]) -> None:
    """WCAG AA: a contrast of 4.5 at least."""
    for ground in ("ground", "panel"):
        for word in WORDS:
            assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_accuracy_has_an_interval_and_the_images_it_is_from() -> None:
    text = Reader(page(full_facts())).text
    assert "60 audit images of the pool" in text
    assert "60 audit images of the traffic" in text
    for value in re.findall(r"accuracy (\d\.\d+)", text):
        assert re.search(rf"{re.escape(value)} \[\d\.\d+, \d\.\d+\]", text), value


def test_channels_are_shown_without_their_secrets_and_say_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = init_workspace(tmp_path / "work", ["cat", "dog"])
    monkeypatch.setenv("HONE_ALERTS", "slack://TokenA12345/TokenB12345/TokenC12345 json://h/x")
    text = report_of(workspace.root, monkeypatch).text
    assert "slack" in text and "unused" in text
    assert "Token" not in text
    text = Reader(page(full_facts())).text
    assert "fails" in text and "cat, 3 attempts since" in text and "works" in text


def test_a_decision_shows_its_kind_its_remedies_and_the_accuracy_with_its_interval() -> None:
    facts = full_facts()
    figures = {"value": 0.91234, "low": 0.85, "high": 0.95}
    estimate: dict[str, object] = {
        "estimate": "on 500 rows", "measured_accuracy": None,
        "kind_evidence": ["brightness moved"], "remedies": ["label recent images"],
        "nested": {"share": 0.5, "of": [1, 2]},
    } | {f"estimated_accuracy_{name}": value for name, value in figures.items()}  # fmt: skip
    newest = replace(facts.decisions[0], estimate=estimate)
    text = Reader(page(replace(facts, decisions=[newest]))).text
    for words in ("estimated accuracy 0.912 [0.850, 0.950]", "estimate: on 500 rows",
                  "brightness moved", "label recent images",
                  "nested: share 0.500, of 1, 2"):  # fmt: skip
        assert words in text, words
    assert "None" not in text and "measured accuracy" not in text


def test_signals_that_never_came_near_the_alarm_are_folded_away() -> None:
    checks = [
        PastCheck(f"2026-02-0{day}T10:00:00+00:00", "note", 1.0 * day, 7.0,
                  [PastSignal("ks", "no drift", 0.1, 1.0), PastSignal("psi", "drift", 0.3, peak)])
        for day, peak in ((1, 8.0), (2, 0.0))
    ]  # fmt: skip
    content = page(replace(full_facts(), checks=checks))
    fold = content.index("Signals that stayed quiet (1)")
    assert content.index("psi: evidence 0") < fold < content.index("ks: evidence 1")


@pytest.mark.parametrize(
    ("hours", "words"), [(0.5, "parts of one minute"), (3, "parts of 10 minutes"),
                         (40, "parts of one hour"), (24 * 20, "parts of one day")]
)  # fmt: skip
def test_traffic_is_shown_in_parts_that_fit_its_span(hours: float, words: str) -> None:
    facts = full_facts()
    first, last = facts.traffic.rows[:2]
    began = datetime(2026, 2, 1, tzinfo=UTC)
    rows = [
        replace(first, served_at=began.isoformat()),
        replace(last, served_at=(began + timedelta(hours=hours)).isoformat()),
    ]
    text = Reader(page(replace(facts, traffic=TrafficSample(rows, 1)))).text
    assert words in text
