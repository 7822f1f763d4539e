"""A verdict on a page and on a screen: what was decided, why, and what would change it."""

from models.judging.gate import decide
from models.judging.verdict import GatePolicy, Outcome, Verdict, stored_verdict
from tasks.report import verdict_view
from tests.models.judging.cases import better, case, rows

HOSTILE = "<img src=x onerror=alert(1)> [log in](https://evil.example) | ![](https://evil.example)"
JUDGED = verdict_view.Pair("hone:2", "hone:1", "snapshot-0003")
POLICY = GatePolicy(latency_ms=20)


def test_a_page_shows_outcome_why_and_every_criterion() -> None:
    page = verdict_view.verdict_markdown(decide(better(), POLICY), JUDGED)
    lines = page.splitlines()
    assert lines[0] == "# PROMOTE: hone:2"
    assert "takes the champion's place (against hone:1" in lines[1]
    assert lines[3:6] == ["**Why**", "", lines[5]] and lines[5].startswith("- better by the")
    assert "What would change it" not in page
    assert "| latency | \\- | PASS | 10 | 9.000 to 11.000 | 20 | 60 |" in page
    assert "| classes | 3 of 3 | PASS |" in page
    assert "- classes (3 of 3): no significant loss on 3 of 3 classes" in lines
    assert max(len(line) for line in lines if line.startswith("|")) < 120  # Prefect cuts the rest


def test_what_is_missing_stands_with_what_would_change_it() -> None:
    verdict = decide(case(rows(60, (), (1,))), POLICY)
    text = list(verdict_view.verdict_lines(verdict, JUDGED))
    assert text[0].startswith("HOLD: hone:2 waits")
    assert text[1].startswith("Why: no gain by the audit")
    assert text[2].startswith("What would change it: answers to a duel, or more audit labels")
    slow = decide(better(), GatePolicy(latency_ms=5))
    assert next(verdict_view.verdict_lines(slow, JUDGED)).startswith("HOLD: hone:2 is held back")
    few = decide(case(rows(12, (), ())), POLICY)
    text = list(verdict_view.verdict_lines(few, JUDGED))
    assert text[2] == "What would change it: 18 labels more of the audit"


def test_classes_that_cannot_be_told_are_named() -> None:
    verdict = decide(case(rows(33, (), range(33))), POLICY)
    assert verdict.outcome == "PROMOTE"
    sentences = verdict_view.cannot_tell(verdict)
    assert sentences == []  # all gained: no loss can be hidden
    equal = decide(case(rows(33, (), ())), POLICY)
    assert verdict_view.cannot_tell(equal)[0].startswith("cannot tell a loss of 0.2: class cat")


def test_names_of_classes_are_shown_as_they_are() -> None:
    verdict = Verdict(Outcome.HOLD, reasons=[f"class {HOSTILE} fell"], metrics={})
    page = verdict_view.verdict_markdown(verdict, JUDGED)
    assert "\\<img src=x onerror" in page and "\\[log in\\](https\\://evil" in page
    assert "<img" not in page.replace("\\<img", "") and "](" not in page.replace("\\](", "")


def test_a_stored_verdict_shows_the_same_page() -> None:
    verdict = decide(better(), POLICY)
    stored = stored_verdict(str(verdict.outcome), verdict.reasons, verdict.metrics)
    assert stored == verdict
    old = stored_verdict("HOLD", ["the gain is not above 0"], {"rows": 80})
    assert old.criteria == () and "the gain" in verdict_view.verdict_markdown(old, JUDGED)
