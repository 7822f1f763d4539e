"""What another policy would settle, change and withdraw, without a label touched."""

from pathlib import Path

from labeling.consensus.preview import LabelChanges, preview_settling
from labeling.consensus.settle import SettlePolicy
from tests.labeling.formats.workspaces import make_house, put_pictures


def test_both_policies_are_compared_on_the_answers_that_are_there(tmp_path: Path) -> None:
    put_pictures(tmp_path, "a.png", "b.png")
    path = tmp_path / "labels.csv"
    path.write_text("image,label,annotator\na.png,cat,ann\na.png,cat,ben\nb.png,dog,ann\n")
    place = make_house(tmp_path / "workspace")
    place.take(path)
    one, two, three = (SettlePolicy(answers_needed=needed) for needed in (1, 2, 3))
    classes = place.workspace.class_names
    assert preview_settling(place.engine, one, one, classes) == LabelChanges(0, 0, 0)
    assert preview_settling(place.engine, one, two, classes) == LabelChanges(0, 0, withdrawn=1)
    assert preview_settling(place.engine, three, one, classes) == LabelChanges(2, 0, 0)
    assert len(place.labels()) == 2
