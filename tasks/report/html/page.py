"""The page as one file: it loads nothing, runs nothing and is bounded in size."""

from collections.abc import Callable
from pathlib import Path

from core.files import write_atomically
from tasks.context import Context
from tasks.report.html.alerts_section import alerts_section
from tasks.report.html.confusion_section import confusion_section
from tasks.report.html.drift_section import drift_section
from tasks.report.html.elements import Html, element, joined, sentence
from tasks.report.html.gather import Facts, gather
from tasks.report.html.labels_section import labels_section
from tasks.report.html.models_section import models_section
from tasks.report.html.outcomes_section import outcomes_section
from tasks.report.html.style import style_sheet
from tasks.report.html.summary import summary
from tasks.report.html.traffic_section import traffic_section
from tasks.report.html.words import minute

LARGEST = 3 * 2**20  # bytes: what a page holds is bounded, and this is the promise
# Should anything slip through the escaping, a browser still runs and fetches nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"

SECTIONS: dict[str, tuple[str, Callable[[Facts], Html]]] = {
    "summary": ("How it stands", summary),
    "traffic": ("Traffic", traffic_section),
    "drift": ("Drift", drift_section),
    "outcomes": ("Outcomes", lambda facts: outcomes_section(facts.outcomes)),
    "models": ("Models", models_section),
    "confusion": ("Mistakes", confusion_section),
    "labels": ("Labels", labels_section),
    "alerts": ("Alerts", lambda facts: alerts_section(facts.alerts)),
}


def write_report(ctx: Context, path: Path | None = None, *, days: int = 30) -> Path:
    """Write the page of the workspace; return where it is."""
    if path is None:
        path = ctx.workspace.root / "reports" / "report.html"
        # also in a workspace whose own .gitignore is from an older version
        write_atomically(path.with_name(".gitignore"), b"*\n")
    write_atomically(path, page(gather(ctx, days=days)).encode())
    return path


def page(facts: Facts) -> str:
    """The page of these facts."""
    made = f"Made {minute(facts.status.at)} UTC by `hone report`; times are UTC, intervals of 95 %."
    links = [element("li", element("a", name, href=f"#{anchor}"))
             for anchor, (name, _) in SECTIONS.items()]  # fmt: skip
    body = element(
        "body",
        element("header", element("h1", facts.title), element("p", sentence(made), class_="muted"),
                element("nav", element("ul", *links), aria_label="Parts of the page")),
        element("main", *(show(facts) for _, show in SECTIONS.values())),
        element("footer", element("p", "Nothing on this page is loaded from elsewhere. Pictures "
                "and names are those of the workspace: share it as you would share them.")),
    )  # fmt: skip
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", joined([facts.title, " - Hone"])),
        element("style", Html(style_sheet())),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"
