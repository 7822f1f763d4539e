"""Tabs of Label Studio's Data Manager: one for each round, for the duel, and for disagreements.

Filters use `equal` only: the page of a project breaks for everybody at an operator it does not
know, and `in_list`, which its server takes, is one.
"""

import re
from collections.abc import Sequence
from typing import Any

EVERYTHING, DISAGREEMENTS = "Everything", "Disagreements"
# Stages of a task; in a review it is "review", in a duel that of `duel_stage`.
QUEUE, DISAGREEMENT = "queue", "disagreement"
ROUNDS_WITH_TAB = 8  # rounds with a tab; more would hide the others
OURS = re.compile(rf"round-\d{{4,}}|Review round-\d{{4,}}|Duel \d+|{DISAGREEMENTS}")
# What is of no use to somebody who looks at a list of images.
HIDDEN = [
    "tasks:inner_id",
    "tasks:completed_at",
    "tasks:cancelled_annotations",
    "tasks:total_predictions",
    "tasks:annotations_ids",
    "tasks:predictions_model_versions",
    "tasks:predictions_results",
    "tasks:file_upload",
    "tasks:storage_filename",
    "tasks:created_at",
    "tasks:updated_at",
    "tasks:updated_by",
    "tasks:avg_lead_time",
    "tasks:draft_exists",
    "tasks:data.sample_id",
    "tasks:data.round",
    "tasks:data.stage",
]


def duel_stage(number: int) -> str:
    """The stage of a duel's tasks, whichever of its rounds they are in."""
    return f"duel-{number}"


def show_tabs(
    client: Any, project: int, rounds: Sequence[tuple[str, bool]], *, duel: int | None = None
) -> None:
    """Let the newest of `rounds` (name, and whether it is a review) have a tab, and the disputed.

    So has the duel under way, by its number. Idempotent. Older rounds and duels lose theirs; a tab
    that somebody else made is never touched.
    """
    there = client.views.list(project=project)
    titles = {_title(view): view.id for view in there}
    wanted = {} if there else {EVERYTHING: _tab(EVERYTHING)}
    for name, is_review in sorted(rounds)[-ROUNDS_WITH_TAB:]:
        title = f"Review {name}" if is_review else name
        wanted[title] = _tab(title, round=name)
    if duel is not None:
        wanted[f"Duel {duel}"] = _tab(f"Duel {duel}", stage=duel_stage(duel))
    wanted[DISAGREEMENTS] = _tab(DISAGREEMENTS, stage=DISAGREEMENT)
    for title, tab in wanted.items():
        if title not in titles:
            client.views.create(project=project, data=tab)
    for title, view in titles.items():
        if OURS.fullmatch(title) and title not in wanted:
            client.views.delete(view)


def _tab(title: str, **fields: str) -> dict[str, Any]:
    filters = [
        {
            "filter": f"filter:tasks:data.{name}",
            "operator": "equal",
            "type": "String",
            "value": value,
        }
        for name, value in fields.items()
    ]
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "columnsDisplayType": {"tasks:data.similar": "Image"},  # not its address
        "filters": {"conjunction": "and", "items": filters},
        "ordering": ["tasks:predictions_score"],
        "hiddenColumns": {"explore": HIDDEN, "labeling": HIDDEN},
    }


def _title(view: Any) -> str:
    content = view.data
    return str((content if isinstance(content, dict) else dict(content or {})).get("title", ""))
