"""The workspace's git: what is committed, and what a killed git leaves."""

import subprocess
from pathlib import Path

import pytest

import core.git
from core.git import clear_dead_locks, commit, git, has_commits, show, start_repository, tags

WHEN = "2026-11-21T00:00:00+00:00"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    start_repository(tmp_path)
    (tmp_path / "a").write_text("1")
    commit(tmp_path, ["a"], message="first", when=WHEN)
    return tmp_path


def test_a_failure_says_what_git_said(tmp_path):
    with pytest.raises(RuntimeError, match=r"git rev-parse in .* not a git repository"):
        git(tmp_path, "rev-parse", "HEAD")


def test_a_repository_without_a_commit_has_none(tmp_path):
    assert not has_commits(tmp_path)
    start_repository(tmp_path)
    assert not has_commits(tmp_path)


def test_the_same_content_at_the_same_time_is_the_same_commit(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    start_repository(other)
    (other / "a").write_text("1")
    assert commit(other, ["a"], message="first", when=WHEN) == git(root, "rev-parse", "HEAD")


def test_nothing_changed_is_no_new_commit(root):
    before = git(root, "rev-parse", "HEAD")
    assert commit(root, ["a"], message="again", when=WHEN) == before


def test_an_ignored_path_is_committed_all_the_same(root):
    (root / ".gitignore").write_text("b")
    (root / "b").write_text("2")
    made = commit(root, ["b"], message="b", when=WHEN)
    assert show(root, made, "b") == "2"


def test_the_users_hooks_and_signing_have_no_part_in_it(root):
    hook = root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    git(root, "config", "commit.gpgSign", "true")
    git(root, "config", "tag.gpgSign", "true")
    (root / "a").write_text("2")
    made = commit(root, ["a"], message="second", when=WHEN)
    git(root, "tag", "two", made)
    assert tags(root) == {"two": made}


def test_an_annotated_tag_stands_for_its_commit(root):
    git(root, "tag", "--annotate", "--message", "x", "one")
    assert tags(root) == {"one": git(root, "rev-parse", "HEAD")}


def test_the_locks_of_a_dead_git_are_removed(root):
    left = [root / ".git" / "index.lock", root / ".git" / "refs" / "tags" / "x.lock"]
    for lock in left:
        lock.touch()
    clear_dead_locks(root)
    assert not any(lock.exists() for lock in left)


def test_the_lock_of_a_living_git_is_kept_and_the_error_names_the_process(root, monkeypatch):
    monkeypatch.setattr(core.git, "LOCK_SECONDS", 0.3)
    (root / ".git" / "index.lock").touch()
    living = subprocess.Popen(
        ["git", "cat-file", "--batch"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with pytest.raises(RuntimeError, match=f"held by process {living.pid}"):
        clear_dead_locks(root)
    assert (root / ".git" / "index.lock").exists()
    living.communicate()
    clear_dead_locks(root)
    assert not (root / ".git" / "index.lock").exists()


def test_a_lock_that_any_process_has_open_is_kept(root, monkeypatch):
    monkeypatch.setattr(core.git, "LOCK_SECONDS", 0.3)
    with (root / ".git" / "index.lock").open("w"), pytest.raises(RuntimeError, match="held by"):
        clear_dead_locks(root)
