"""The desk: plain images of the open rounds, the one folder that Label Studio may read."""

from pathlib import Path
from typing import Any

from ground.files import write_whole
from ground.shards import read_image
from labeling import rounds
from labeling.ledger import place_of
from labeling.studio_project import IMAGES
from tasks.house import House

SHOWN = f"{IMAGES}/examples"  # of the instructions
EXAMPLES = 2  # of each class
ENDINGS = {"JPEG": "jpg", "PNG": "png"}


def lay_out(place: House, row: Any, folder: str = IMAGES) -> str:
    """Put a sample's image on the desk; return its path below Label Studio's document root."""
    path = place.workspace.desk / folder / f"{row.sample_id}.{ENDINGS[row.format]}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, read_image(place.workspace.shards, place_of(row)))
    root = (place.settings.label_studio_document_root or place.workspace.desk).resolve()
    if not path.is_relative_to(root):
        raise ValueError(
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is {root}, and {place.workspace.desk} is not "
            "below it, so Label Studio could not show its images; set it to the desk, or above"
        )
    return str(path.relative_to(root))


def lay_out_examples(place: House) -> dict[str, list[str]]:
    """Images for the instructions: of each class the surest two, below the document root.

    They stay as long as their labels do, or the instructions would change with every round.
    """
    with place.engine.connect() as connection:
        surest = rounds.surest_samples(connection, each=EXAMPLES)
    found: dict[str, list[str]] = {}
    for row in surest.itertuples():
        found.setdefault(str(row.label), []).append(lay_out(place, row, SHOWN))
    return found


def clear_desk(place: House) -> int:
    """Take away the images of rounds that are closed; return how many. Idempotent."""
    with place.engine.connect() as connection:
        wanted = rounds.samples_of_open_rounds(connection)
    folder = place.workspace.desk / IMAGES
    spare = [path for path in folder.glob("*.*") if _sample(path) not in wanted]
    for path in spare:
        path.unlink(missing_ok=True)
    return len(spare)


def _sample(path: Path) -> str:
    return path.stem.removeprefix(".").partition(".")[0]  # a killed write leaves a hidden part
