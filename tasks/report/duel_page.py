"""The page of a duel that has ended: the images both models differed on, with all three answers.

It is made when nobody is asked any more: before, it would tell annotators which model said what.
"""

from pathlib import Path

import pandas as pd

from core.text import counted
from models.judging.duel_record import DuelRecord
from tasks.direct_run import is_direct_run
from tasks.report.artifacts import IMAGES_SHOWN, escape_markdown, publish_page, thumbnail

FIRST = {
    1: 0,
    -1: 1,
    0: 2,
}  # won images come first, then lost ones, then those that decided nothing
RIGHT = {1: "challenger", -1: "champion", 0: "neither"}


def duel_rows(record: DuelRecord, samples: pd.DataFrame) -> pd.DataFrame:
    """The counted samples: sample_id, population, answer, champion, challenger, who was right."""
    rows = samples[samples["counted_at"].notna()].reset_index(drop=True)
    answers = [record.answers(row) for row in rows.itertuples()]
    values = [record.value_of(row) or 0 for row in rows.itertuples()]
    table = pd.DataFrame(
        {
            "sample_id": rows["sample_id"],
            "population": rows["population"],
            "answer": rows["answer"].where(rows["answer"].notna(), rows["ending"]),
            "champion": [champion for champion, _ in answers],
            "challenger": [challenger for _, challenger in answers],
            "right": [RIGHT[value] for value in values],
            "place": [FIRST[value] for value in values],
        }
    )
    return table.sort_values("place", kind="stable", ignore_index=True).drop(columns="place")


def score_of(rows: pd.DataFrame) -> str:
    """How often which model was right, by population, of `duel_rows`."""
    parts = []
    for population, mine in rows.groupby("population", sort=True):
        counts = mine["right"].value_counts()
        won, lost, neither = (int(counts.get(RIGHT[value], 0)) for value in FIRST)
        parts.append(
            f"{population}: the challenger alone was right on {won}, the champion alone on {lost}, "
            f"and {neither} decided nothing"
        )
    return "; ".join(parts)


def publish_duel(
    duel_id: str, record: DuelRecord, samples: pd.DataFrame, places: pd.DataFrame, shards: Path
) -> None:
    """Publish the page in Prefect; `places` are the IMAGE_PLACES of the samples."""
    if is_direct_run():
        return
    counted_rows = duel_rows(record, samples)
    rows = counted_rows.head(IMAGES_SHOWN).merge(places, on="sample_id")
    pictures = {str(row.sample_id): thumbnail(shards, row) for row in rows.itertuples()}
    publish_page(
        key=duel_id,
        description=f"What {record.challenger} and {record.champion} answered differently",
        markdown=duel_markdown(
            duel_id,
            record,
            rows,
            pictures,
            score=score_of(counted_rows),
            left_out=len(samples) - len(rows),
        ),
    )


def duel_markdown(
    duel_id: str,
    record: DuelRecord,
    rows: pd.DataFrame,
    pictures: dict[str, str],
    *,
    score: str = "",
    left_out: int = 0,
) -> str:
    """The page, with the address of a picture for each sample."""
    lines = [
        f"# {duel_id}: {escape_markdown(record.challenger)} against "
        f"{escape_markdown(record.champion)}",
        "",
        *([escape_markdown(score), ""] if score else []),
        "| image | annotators | champion | challenger | right | of |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows.itertuples():
        name = str(row.sample_id)
        cells = (row.answer, row.champion, row.challenger, row.right, row.population)
        words = " | ".join(escape_markdown(str(cell)) for cell in cells)
        lines.append(f"| ![{name[:8]}]({pictures[name]}) | {words} |")
    more = f"\n\n... and {counted(left_out, 'more sample')}" if left_out > 0 else ""
    return "\n".join(lines) + more
