"""Numbers and moments in the words of the page: no figure without its interval and its rows."""

from datetime import datetime

from core.intervals import Interval
from tasks.report.html.charts import gauge
from tasks.report.html.elements import Html, element, joined, sentence


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO time."""
    return datetime.fromisoformat(text).timestamp()


def minute(text: str) -> str:
    """An ISO time (UTC) to the minute."""
    return text[:16].replace("T", " ")


def bounded(interval: Interval, form: str = ".3f") -> str:
    """A value with the bounds of its interval."""
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def measured(interval: Interval, of: str) -> Html:
    """A share as figure and bar, with its interval and what it is of."""
    return joined(
        [
            element("b", f"{interval.value:.3f}"),
            f" [{interval.low:.3f}, {interval.high:.3f}]",
            gauge(interval.value, interval.low, interval.high),
            element("span", of, class_="small"),
        ]
    )


def fact(name: str, value: object, small: str = "") -> Html:
    """One line of a list of facts."""
    more = element("span", small, class_="small") if small else ""
    return element("div", element("dt", name), element("dd", joined([value, more])))


def fact_list(*facts: Html) -> Html:
    """Facts beside each other."""
    return element("dl", *facts, class_="facts")


def section(anchor: str, title: str, *content: object) -> Html:
    """A part of the page."""
    heading = element("h2", title, id=f"{anchor}-title")
    return element("section", heading, *content, id=anchor, aria_labelledby=f"{anchor}-title")


def missing(words: str) -> Html:
    """What is not there yet, and what would bring it."""
    return element("p", sentence(words), class_="muted")


def marked(outcome: str) -> Html:
    """An outcome in its colour."""
    kinds = {"PROMOTE": "good", "HOLD": "warn", "REJECT": "bad", "drift": "bad",
             "cannot tell": "warn"}  # fmt: skip
    return element("span", outcome, class_=kinds.get(outcome))
