"""The page of a duel: who was right about which image."""

import pandas as pd

from tasks.report.duel_page import duel_markdown, duel_rows, score_of
from tests.models.judging.test_duel_record import samples
from tests.tasks.duels import record_of


def test_won_images_come_first_and_each_has_all_three_answers() -> None:
    record = record_of("+" * 6)
    drawn = samples("-?+0.").assign(
        sample_id=[f"image-{n}" for n in range(5)],
        ending=["labelled", "skipped", "labelled", "labelled", "open"],
    )
    rows = duel_rows(record, drawn)
    shown = rows[["sample_id", "answer", "champion", "challenger", "right"]].values.tolist()
    assert shown == [
        ["image-2", "cat", "dog", "cat", "challenger"],
        ["image-0", "cat", "cat", "dog", "champion"],
        ["image-1", "skipped", "dog", "cat", "neither"],
        ["image-3", "eel", "dog", "cat", "neither"],
    ]
    pictures = {str(name): f"data:{name}" for name in rows["sample_id"]}
    score = score_of(rows)
    assert score == (
        "pool: the challenger alone was right on 1, the champion alone on 1, and 2 decided nothing"
    )
    page = duel_markdown("duel-0001", record, rows, pictures, score=score, left_out=1)
    assert page.splitlines()[2] == score
    assert "| ![image-2](data:image-2) | cat | dog | cat | challenger | pool |" in page
    assert page.endswith("\n\n... and 1 more sample")


def test_what_a_class_is_called_cannot_change_the_page() -> None:
    record = record_of("+", champion_classes=("a|b", "<b>"))
    drawn = samples("+").assign(sample_id="x", ending="labelled")
    page = duel_markdown("duel-0001", record, duel_rows(record, pd.DataFrame(drawn)), {"x": "y"})
    assert "<b>" not in page
