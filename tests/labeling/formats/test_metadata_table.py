"""Tables of metadata: what is taken, what of it is left out, and which row is refused, with why."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.formats.image_lookup import Absent
from labeling.formats.metadata_table import MatchedMetadata, match_metadata, read_metadata

IDS = {f"{number}.png": f"{number:064}" for number in range(9)}


def table(folder: Path, text: str) -> Path:
    path = folder / "about.csv"
    path.write_text(text)
    return path


def matched(path: Path, places: dict[str, str | Absent] | None = None) -> MatchedMetadata:
    return match_metadata(read_metadata(path), IDS | (places or {}), set(IDS.values()))


def test_every_other_column_is_metadata_in_a_plain_name(tmp_path: Path) -> None:
    path = table(
        tmp_path, "File_name;Lens Type;label;month\n0.png;50 mm ;cat;may\n1.png;;dog;june\n"
    )
    file = read_metadata(path)
    assert file.columns == ["lens_type"]
    assert file.notes == [
        "left out: label, month (labels are for `hone import`; origin, folder, month, source are "
        "known already)"
    ]
    assert matched(path) == MatchedMetadata({IDS["0.png"]: {"lens_type": "50 mm"}}, [])


def test_a_row_that_cannot_be_taken_is_refused_with_its_place(tmp_path: Path) -> None:
    rows = ["0.png,a", f"1.png,{'b' * 201}", ",c", "0.png,other", "far.png,d", "2.png,e,f",
            "gone.png,g", f"{IDS['3.png']},h", "0.png,a"]  # fmt: skip
    path = table(tmp_path, "image,lens\n" + "\n".join(rows) + "\n")
    result = matched(path, {"far.png": Absent("OUTSIDE", "it leads out")})
    assert result.values == {IDS["0.png"]: {"lens": "a"}}
    assert [(row.where, row.reason) for row in result.refused] == [
        ("line 3", "TOO_LONG"), ("line 4", "NO_IMAGE"), ("line 5", "CONTRADICTION"),
        ("line 6", "OUTSIDE"), ("line 7", "MALFORMED"), ("line 8", "NO_SUCH_SAMPLE"),
        ("line 9", "NO_SUCH_SAMPLE"),
    ]  # fmt: skip
    assert result.refused[2].detail == (
        "lens is 'a' in line 2, 'other' here, for the same image; correct one of them"
    )


def test_a_sample_may_be_named_by_its_id(tmp_path: Path) -> None:
    path = table(tmp_path, f"sample_id,lens\n{IDS['4.png']},a\n{'0' * 63}x,b\n")
    result = matched(path)
    assert result.values == {IDS["4.png"]: {"lens": "a"}}
    assert [row.where for row in result.refused] == ["line 3"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label,lens\ncat,1\n", "one of image, path, file, filename, file_name, sample_id is"),
        ("image\n0.png\n", "nothing about them; add a column"),
        ("image,label\n0.png,cat\n", "nothing about them"),
        ("image,a,a\n0.png,1,2\n", "the column 'a' occurs twice"),
        ("image,a\x1b[2J\n0.png,1\n", "signs that no name of a slice has"),
        (f"image,{'a' * 51}\n0.png,1\n", "more than 50"),
        (f"image,{','.join(f'c{n}' for n in range(21))}\n", "21 columns of metadata, at most 20"),
        ("image,a\n", "a header and no rows"),
        ("", "is empty"),
    ],
)
def test_a_table_that_is_no_metadata_is_refused_with_the_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        read_metadata(table(tmp_path, text))
    with pytest.raises(ValueError, match="does not exist"):
        read_metadata(tmp_path / "none.csv")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(broken=st.text(max_size=30), place=st.integers(0, 4))
def test_one_broken_row_spoils_no_other(tmp_path: Path, broken: str, place: int) -> None:
    lines = [f"{number}.png,v{number}" for number in range(5)]
    lines[place] = broken.replace("\n", " ").replace("\r", " ")
    path = tmp_path / "about.csv"
    path.write_bytes(("image,lens\n" + "\n".join(lines) + "\n").encode("utf-8", "replace"))
    result = matched(path)
    whole = {IDS[f"{number}.png"] for number in range(5) if number != place}
    assert whole <= set(result.values)
    assert all(result.values[one]["lens"].startswith("v") for one in whole)
    assert {row.where for row in result.refused} <= {f"line {place + 2}"}
