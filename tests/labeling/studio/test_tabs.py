"""What a tab is made of; tests/system/test_queue.py opens them."""

from types import SimpleNamespace
from typing import Any

from labeling.studio import tabs

# The page of a project breaks for everybody at any other operator.
KNOWN = {"equal", "not_equal", "less", "greater", "in", "not_in", "empty", "contains", "regex"}


class Views:
    """The tabs of one project, kept in memory."""

    def __init__(self, *titles: str) -> None:
        self.kept: dict[int, dict[str, Any]] = {
            n: {"title": title} for n, title in enumerate(titles)
        }

    def list(self, project: int) -> list[Any]:
        return [SimpleNamespace(id=n, data=tab) for n, tab in self.kept.items()]

    def create(self, project: int, data: dict[str, Any]) -> None:
        self.kept[max(self.kept, default=0) + 1] = data

    def delete(self, number: int) -> None:
        del self.kept[number]


def shown(views: Views, *rounds: tuple[str, bool]) -> list[str]:
    tabs.show_tabs(SimpleNamespace(views=views), 1, list(rounds))
    return [str(tab["title"]) for tab in views.kept.values()]


def test_a_new_project_keeps_a_tab_with_everything():
    first = ("round-0001", False)
    assert shown(Views(), first) == ["Everything", "round-0001", "Disagreements"]


def test_tabs_made_twice_are_there_once_and_others_stay():
    views = Views("mine", "round-0001 but better")
    once = shown(views, ("round-0001", False))
    assert shown(views, ("round-0001", False)) == once
    assert {"mine", "round-0001 but better"} <= set(once)


def test_only_the_newest_rounds_have_a_tab():
    rounds = [(f"round-{n:04d}", n == 20) for n in range(1, 21)]
    views = Views()
    shown(views, *rounds[:5])
    titles = shown(views, *rounds)
    assert len([title for title in titles if "round-" in title]) == tabs.ROUNDS_WITH_TAB
    assert titles[-1] == "Review round-0020"


def test_filters_use_operators_that_the_page_knows():
    views = Views()
    shown(views, ("round-0001", False), ("round-0002", True))
    filters = [
        one for tab in views.kept.values() for one in tab.get("filters", {}).get("items", [])
    ]
    assert {one["operator"] for one in filters} <= KNOWN
    assert {one["value"] for one in filters} == {"round-0001", "round-0002", "disagreement"}


def test_the_duel_under_way_has_one_tab_for_all_its_rounds_until_it_ends():
    views = Views("mine")
    client, first = SimpleNamespace(views=views), [("round-0001", False)]
    for _ in range(2):
        tabs.show_tabs(client, 1, first, duel=3)
    titles = [str(tab["title"]) for tab in views.kept.values()]
    assert titles == ["mine", "round-0001", "Duel 3", "Disagreements"]
    (filtered,) = (
        tab["filters"]["items"] for tab in views.kept.values() if tab["title"] == "Duel 3"
    )
    assert [(one["filter"], one["value"]) for one in filtered] == [
        ("filter:tasks:data.stage", tabs.duel_stage(3))
    ]
    assert shown(views, *first) == ["mine", "round-0001", "Disagreements"]
