"""The workspace's own git repository, driven so that a killed run never stops the next one."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from core.child_environment import environment_without_secrets

IDENTITY = {"user.name": "Hone", "user.email": "hone@localhost"}
SAFE = {
    "core.fsync": "all",  # a tag is a promise: it must not outlive what it points to
    "gc.auto": "0",  # no background process that works on after the command has ended
    "maintenance.auto": "false",
}
OURS = ("core.hooksPath=/dev/null", "commit.gpgSign=false", "tag.gpgSign=false")
LOCK_SECONDS = 10.0  # how long a git that somebody else runs here is waited for


def git(root: Path, *arguments: str, when: str | None = None) -> str:
    """What `git` prints in the repository at `root`; a failure has the reason that git gave.

    The user's hooks, signing keys and GIT_ variables have no part in it, and it gets no secret.
    `when` is the time the commit bears, so that a commit made again after a kill is the same one.
    """
    inherited = environment_without_secrets().items()
    environment = {name: value for name, value in inherited if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    if when is not None:
        environment |= {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    options = [word for setting in OURS for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *options, *arguments],
            env=environment, capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise RuntimeError("git is not installed; install it (apt-get install git)") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip() or f"exit code {error.returncode}"
        raise RuntimeError(f"git {arguments[0]} in {root}: {reason}") from None
    return done.stdout.strip()


def start_repository(root: Path) -> None:
    """Make `root` a git repository with an identity of its own; one that is there is kept."""
    if (root / ".git").exists():
        clear_dead_locks(root)
    git(root, "-c", "init.defaultBranch=main", "init", "--quiet", "--template=")
    for name, value in (IDENTITY | SAFE).items():
        git(root, "config", name, value)


def has_commits(root: Path) -> bool:
    """Whether `root` is a git repository of its own with anything in it."""
    return (root / ".git").exists() and bool(git(root, "rev-list", "--max-count=1", "--all"))


def commit(root: Path, paths: Sequence[str], *, message: str, when: str) -> str:
    """The commit that holds `paths` as they are now; whatever else is changed stays out of it."""
    git(root, "add", "--force", "--", *paths)
    if git(root, "status", "--porcelain", "--", *paths):
        git(root, "commit", "--quiet", "--no-verify", "--message", message, "--", *paths, when=when)
    return git(root, "rev-parse", "HEAD")


def tags(root: Path) -> dict[str, str]:
    """Every tag and the commit it stands for."""
    lines = git(
        root, "for-each-ref", "refs/tags", "--format=%(refname:short) %(objectname) %(*objectname)"
    )
    return {words[0]: words[-1] for words in map(str.split, lines.splitlines())}


def show(root: Path, commit_id: str, path: str) -> str:
    """The text of a file as a commit has it."""
    return git(root, "show", f"{commit_id}:{path}")


def clear_dead_locks(root: Path) -> None:
    """Remove the lock files that a killed git left; call it as the repository's one writer.

    A lock is removed only when no process of this machine has it open and no git works here.
    """
    folder = root / ".git"
    deadline = time.monotonic() + LOCK_SECONDS
    while left := sorted(folder.rglob("*.lock")):
        living = _at_work(root)
        if not living:
            for lock in left:
                lock.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise RuntimeError(f"{left[0]} is held by process {living[0]}; let it end, or end it")
        else:
            time.sleep(0.1)


def _at_work(root: Path) -> list[int]:
    """Processes that run git in `root`, or hold a file of its repository open."""
    return [process.pid for process in psutil.process_iter() if _touches(process, root.resolve())]


def _touches(process: psutil.Process, root: Path) -> bool:
    try:
        if process.name().startswith("git"):
            return Path(process.cwd()).is_relative_to(root)
        opened = process.open_files()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False  # it ended meanwhile, or is another user's
    return any(Path(file.path).is_relative_to(root / ".git") for file in opened)
