import pytest

from labeling.ingest.intake import Intake
from labeling.ledger.image_queries import RefusedFile
from tasks.ingest import print_intake


def intake(refused: int) -> Intake:
    files = [RefusedFile(f"/in/{n}.png", "EMPTY", "the file has no bytes") for n in range(refused)]
    counts = {"EMPTY": refused} if refused else {}
    return Intake(3, 1, counts, skipped=0, shards=1, seconds=0.1, refused_files=files)


@pytest.mark.parametrize(
    ("refused", "lines"),
    [
        (0, ["/in: 3 added, 1 known, refused: none"]),
        (1, ["/in: 3 added, 1 known, refused: 1 EMPTY",
             "  /in/0.png: EMPTY, the file has no bytes"]),
        (11, ["/in: 3 added, 1 known, refused: 11 EMPTY", "  `hone refused` lists them"]),
    ],
)  # fmt: skip
def test_few_refused_files_are_printed_and_many_are_counted(
    refused: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    print_intake(intake(refused), "/in")
    assert capsys.readouterr().out.splitlines() == lines
