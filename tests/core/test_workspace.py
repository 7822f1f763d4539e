"""Making, completing and reading workspaces."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core import workspace as module
from core.errors import HoneError
from core.git import git
from core.workspace import init_workspace, load_workspace

CLASSES = ["cat", 'a "dog"', "schön, oder?"]


def test_a_new_workspace_says_what_was_asked_for(tmp_path):
    made = init_workspace(tmp_path / "ws", CLASSES, title="Pets", purpose="Who?", image_size=64)
    assert made == load_workspace(tmp_path / "ws")
    assert made.class_names == CLASSES
    assert [known.hotkey for known in made.classes] == ["1", "2", "3"]
    assert (made.title, made.purpose, made.image_size) == ("Pets", "Who?", 64)


def test_more_classes_than_keys_leave_the_last_without_one(tmp_path):
    made = init_workspace(tmp_path / "ws", [f"class {number}" for number in range(40)])
    assert [bool(known.hotkey) for known in made.classes].count(False) == 4


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        ([*"0123456789"], [*"0123456789"]),
        (["cat", "1", "A", "a"], ["2", "1", "a", "3"]),
        (["ä", "+"], ["1", "2"]),  # neither is a key that every keyboard has
        (["0", *(f"class {number}" for number in range(40))][:37], None),
    ],
)
def test_a_class_named_by_one_character_has_that_key(tmp_path, classes, keys):
    made = init_workspace(tmp_path / "ws", classes)
    hotkeys = [known.hotkey for known in made.classes]
    assert keys is None or hotkeys == keys
    assert len({key for key in hotkeys if key}) == min(len(classes), 36), "no two alike"


def test_hotkeys_that_hone_toml_names_stay_and_the_others_avoid_them(tmp_path):
    made = init_workspace(tmp_path / "ws", [*"012"])
    config = made.root / "hone.toml"
    named = "[[class]]\nname='0'\nhotkey='1'\n[[class]]\nname='1'\n[[class]]\nname='2'\nhotkey=''"
    config.write_text(named)
    assert [known.hotkey for known in load_workspace(made.root).classes] == ["1", "2", ""]


def test_its_git_has_a_first_commit_and_nothing_that_grows(tmp_path):
    root = init_workspace(tmp_path / "ws", CLASSES).root
    assert git(root, "log", "--format=%an <%ae>") == "Hone <hone@localhost>"
    grown = ["hone.sqlite", "hone.sqlite-wal", "staged/a.jpg", "traffic/s", "bento/m", "runs/r",
             "remote/o", "inbox/i.png", ".env", ".dvc/cache/o", ".dvc/tmp/lock"]  # fmt: skip
    for name in grown:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert git(root, "status", "--porcelain") == ""


def test_dvc_finds_there_what_its_own_init_would_have_made(tmp_path):
    root = init_workspace(tmp_path / "ws", CLASSES).root
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    from dvc.repo import Repo

    Repo.init(str(other)).close()
    theirs = (other / ".dvc" / ".gitignore").read_text()
    assert sorted((root / ".dvc" / ".gitignore").read_text().split()) == sorted(theirs.split())
    with Repo(str(root)) as repo:
        assert repo.config["core"]["autostage"] is True
        assert repo.config["core"]["analytics"] is False
        assert repo.config["cache"]["type"] == ["reflink", "copy"]
        assert repo.cloud.get_remote_odb().path == str(root / "remote" / "files" / "md5")


def test_making_it_again_changes_nothing(tmp_path):
    root = init_workspace(tmp_path / "ws", CLASSES, title="Pets").root
    (root / "hone.toml").write_text((root / "hone.toml").read_text().replace('""', '"mine"', 1))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    init_workspace(root, CLASSES, title="other")
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed <= {"config", "index"}  # git's own, rewritten with what was in them
    assert load_workspace(root).purpose == "mine"


@pytest.mark.parametrize("lost", ["hone.toml", ".dvc/config", ".git/index", ".git/HEAD"])
def test_one_that_was_half_made_is_completed(tmp_path, lost):
    whole = init_workspace(tmp_path / "whole", CLASSES, title="t").root
    files = ["ls-tree", "-r", "--name-only", "HEAD"]
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    shutil.rmtree(half / ".git")
    if lost != ".git/HEAD":
        git(half, "init", "--quiet")
        (half / lost).unlink(missing_ok=True)
        (half / ".git" / "index.lock").touch()
    init_workspace(half, CLASSES, title="t")
    assert git(half, *files) == git(whole, *files)
    assert git(half, "status", "--porcelain") == ""


@pytest.mark.parametrize(("classes", "size"), [(["cat", "dog"], 224), (CLASSES, 32)])
def test_one_for_something_else_is_refused_and_kept(tmp_path, classes, size):
    root = init_workspace(tmp_path / "ws", CLASSES).root
    with pytest.raises(ValueError, match="is a workspace already, for"):
        init_workspace(root, classes, image_size=size)
    assert load_workspace(root).class_names == CLASSES


def test_another_remote_for_the_same_workspace_is_refused(tmp_path):
    root = init_workspace(tmp_path / "ws", CLASSES, remote=str(tmp_path / "a")).root
    init_workspace(root, CLASSES, remote=str(tmp_path / "a"))
    with pytest.raises(ValueError, match="names a DVC remote"):
        init_workspace(root, CLASSES, remote=str(tmp_path / "b"))


def test_a_remote_with_a_key_in_its_address_is_refused_without_repeating_it(tmp_path):
    with pytest.raises(ValueError, match="credentials") as error:
        init_workspace(tmp_path / "ws", CLASSES, remote="https://me:s3cret@example.org/x")
    assert "s3cret" not in str(error.value)
    assert not (tmp_path / "ws").exists()


def test_a_repository_with_something_else_in_it_is_refused(tmp_path):
    git(tmp_path, "init", "--quiet")
    git(
        tmp_path,
        "-c",
        "user.name=me",
        "-c",
        "user.email=m@e",
        "commit",
        "--allow-empty",
        "-qm",
        "x",
    )
    with pytest.raises(ValueError, match="another git repository"):
        init_workspace(tmp_path, CLASSES)


def test_inside_another_repository_it_has_its_own_unless_that_keeps_files_there(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    git(tmp_path, "add", "used/file")
    with pytest.raises(ValueError, match="another git repository"):
        init_workspace(tmp_path / "used", CLASSES)
    root = init_workspace(tmp_path / "new", CLASSES).root
    assert git(root, "rev-parse", "--show-toplevel") == str(root)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ([], "at least two"),
        (["a"], "at least two"),
        (["a", ""], "none empty"),
        (["a", "a"], "twice"),
    ],
)
def test_classes_nobody_can_choose_between_are_refused_before_anything_is_made(
    tmp_path, classes, says
):
    with pytest.raises(ValueError, match=says):
        init_workspace(tmp_path / "ws", classes)
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title = ", "hone.toml"),
        ("colour = 3", "unknown key 'colour'"),
        ("[soft]\nenabled = true", r"\[soft\] is gone: write \[train\] with pool = \"auto\""),
        ("image_size = 4\n[[class]]\nname='a'\n[[class]]\nname='b'", "image_size is 4"),
        ("price = 'much'\n[[class]]\nname='a'\n[[class]]\nname='b'", "price is 'much'"),
        ("price = -1\n[[class]]\nname='a'\n[[class]]\nname='b'", "price is -1"),
        ("price = nan\n[[class]]\nname='a'\n[[class]]\nname='b'", "price is nan"),
        ("[[class]]\nname='a'\nhotkey='x'\n[[class]]\nname='b'\nhotkey='x'", "hotkey 'x'"),
    ],
)
def test_an_unsound_config_is_named_with_what_is_wrong(tmp_path, text, says):
    (tmp_path / "hone.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        load_workspace(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("name = 1", "name is 1; write a text"),
        ("name = true", "name is True; write a text"),
        ('name = ["cat"]', "write a text"),
        ('name = "cat "', "'cat' stands twice"),
        ('name = "e\\u0301"', "'\u00e9' stands twice"),
        ('name = "a\\u0007b"', "that a terminal obeys"),
        ('name = "a\\nb"', None),
        ('name = "\\u0000"', "that a terminal obeys"),
        (f'name = "{"x" * 1001}"', "is no class name"),
        ('name = "x"\nhotkey = 1', "hotkey is 1; write a text"),
        ('name = "x"\nhint = 1.0', "hint is 1.0; write a text"),
        ('name = "x"\nhint = "it purrs\\u0000"', "the hint 'it purrs"),
        ('name = "x"\nhint = "it purrs\\uffff"', "the hint 'it purrs"),
        ('name = "x"\n[gate]\nx = ' + "9" * 5_000, "Exceeds the limit"),
        ('name = "x"\n[gate]\nx = ' + "[" * 5_000, "nested too deeply"),
        (f'name = "x"\n[gate]\nx = {10**400}', None),
        ('name = "\\u0441at"', None),  # a Cyrillic letter is another letter
        ('name = "CAT"', None),  # as "a" and "A" among handwritten letters
    ],
)
def test_a_class_that_could_be_mistaken_for_another_is_refused(tmp_path, line, says):
    text = f'[[class]]\nname = "cat"\n[[class]]\nname = "\u00e9"\n[[class]]\n{line}\n'
    (tmp_path / "hone.toml").write_text(text, encoding="utf-8")
    if says is None:
        assert len(load_workspace(tmp_path).classes) == 3
    else:
        with pytest.raises(HoneError, match=re.escape(says)):
            load_workspace(tmp_path)


def test_a_config_in_another_encoding_says_so(tmp_path):
    (tmp_path / "hone.toml").write_bytes('title = "\u00e4"\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"hone\.toml is not in UTF-8 \(byte 9\)"):
        load_workspace(tmp_path)


def test_a_label_has_the_price_that_its_config_says_or_none(tmp_path):
    made = init_workspace(tmp_path / "ws", CLASSES)
    assert made.price is None
    config = made.root / "hone.toml"
    config.write_text(config.read_text().replace("# price = 0.05", "price = 0.25"))
    assert load_workspace(made.root).price == 0.25


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match="hone init"):
        load_workspace(tmp_path)


@pytest.mark.parametrize("home", ["", "/nonexistent"])
def test_it_needs_no_home_and_nothing_from_the_users_git(tmp_path, home):
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": "/nonexistent", "GIT_AUTHOR_NAME": "x"}
    script = "import sys; from pathlib import Path; from core.workspace import init_workspace; "
    script += "init_workspace(Path(sys.argv[1]), ['a', 'b'])"
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ws")],
        env=environment | {"HOME": home}, cwd=Path(module.__file__).parents[1], check=True,
    )  # fmt: skip
    assert git(tmp_path / "ws", "log", "--format=%an") == "Hone"


@pytest.mark.parametrize("name", ["cat\x1b[31m", "\u202etac", "cat\x9b", "c\x00at"])
def test_a_class_name_that_a_terminal_would_obey_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="characters that a terminal obeys") as refused:
        init_workspace(tmp_path / "ws", [name, "dog"])
    assert str(refused.value).isprintable()
