"""The workspace: one folder with its own git, DVC, database, models and `hone.toml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.access import keep_others_out
from core.database import now
from core.dvc_config import DVC_GITIGNORE, DVCIGNORE, dvc_config, use_private_site_cache
from core.files import write_atomically
from core.git import commit, git, has_commits, start_repository
from core.hone_toml import LABEL_KINDS, LabelClass, hone_toml_text, parse_hone_toml

GITIGNORE = (
    "/hone.sqlite*\n/journal-head.json\n/desk/\n/staged/\n/traffic/\n/bento/\n/runs/\n/scores/\n/remote/\n/inbox/\n/.env\n/reports/\n"
    "/label-studio.json\n/simulated-annotators.json\n"
)


@dataclass(frozen=True)
class Workspace:
    """What `hone.toml` says, and where everything of this workspace lies."""

    root: Path
    title: str
    purpose: str
    classes: tuple[LabelClass, ...]
    image_size: int
    price: float | None = None  # of one label, in whatever money one counts in
    kind: str = LABEL_KINDS[0]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, text: str, root: Path) -> "Workspace":
        """The workspace at `root` with `text` as its `hone.toml`."""
        return cls(root, **vars(parse_hone_toml(text, root / "hone.toml")))

    @property
    def class_names(self) -> list[str]:
        return [known.name for known in self.classes]

    @property
    def database(self) -> str:
        return f"sqlite:///{self.root / 'hone.sqlite'}"

    @property
    def journal_head(self) -> Path:
        """Which entry of the journal was committed last, known outside the database, too."""
        return self.root / "journal-head.json"

    @property
    def shards(self) -> Path:
        return self.root / "data" / "shards"

    @property
    def labels_table(self) -> Path:
        return self.root / "data" / "labels.parquet"

    @property
    def staged(self) -> Path:
        """Plain images of the open assignments: the one folder Label Studio may read."""
        old = self.root / "desk"  # of a workspace made by 0.1
        return old if old.exists() else self.root / "staged"

    @property
    def traffic(self) -> Path:
        """Append-only segments that the service writes before it answers."""
        return self.root / "traffic"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def bento_home(self) -> Path:
        return self.root / "bento"

    @property
    def runtimes(self) -> Path:
        """Models as other runtimes take them, and which of these is the fastest on a machine.

        Deleting it loses nothing.
        """
        return self.bento_home / "runtimes"

    @property
    def scores(self) -> Path:
        """Predictions, cached so that no sample is scored twice; deleting it loses nothing."""
        return self.root / "scores"

    @property
    def runs(self) -> Path:
        """W&B's offline runs and the metrics of record beside them."""
        return self.root / "runs"


def init_workspace(
    root: Path,
    classes: Sequence[str],
    *,
    title: str = "",
    purpose: str = "",
    image_size: int = 224,
    remote: str | None = None,
    policies: str = "",
) -> Workspace:
    """Make `root` a workspace: `hone.toml`, a git repository of its own, DVC with a remote.

    A workspace that is there stays as it is, one half made by a killed run is completed; what
    contradicts it (other classes, another size or remote) is an error. `remote` is a folder or an
    address that DVC knows, such as s3://bucket/folder; without one it is the folder `remote`.
    `policies` is the text of the sections of `hone.toml` that hold the policies.
    """
    keep_others_out()
    root = root.expanduser().resolve()
    toml = hone_toml_text(
        classes,
        title=title or root.name,
        purpose=purpose,
        image_size=image_size,
        policies=policies,
    )
    wanted = Workspace.read(toml, root)
    config = dvc_config(remote)
    _refuse_conflict(wanted, config if remote else None)
    for folder in (root, wanted.shards, wanted.staged, wanted.traffic, wanted.inbox):
        folder.mkdir(parents=True, exist_ok=True)
    start_repository(root)
    texts = {
        ".gitignore": GITIGNORE,
        ".dvcignore": DVCIGNORE,
        ".dvc/.gitignore": DVC_GITIGNORE,
        ".dvc/config": config,
        "hone.toml": toml,
    }
    for name, text in texts.items():
        if not (root / name).exists():
            write_atomically(root / name, text.encode())
    use_private_site_cache(root)
    if not has_commits(root):
        commit(root, list(texts), message="A workspace of Hone", when=now())
    return load_workspace(root)


def load_workspace(root: Path) -> Workspace:
    """The workspace at `root`; a folder without a sound `hone.toml` is an error that says so."""
    root = root.expanduser().resolve()
    config = root / "hone.toml"
    if not config.is_file():
        raise ValueError(
            f"{root} is no Hone workspace: it has no hone.toml; make one with "
            f"`hone init {root} --classes a,b,c` or name another with --workspace or HONE_WORKSPACE"
        )
    try:
        text = config.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{config} is not in UTF-8 (byte {error.start}); save it so") from error
    return Workspace.read(text, root)


def _refuse_conflict(wanted: Workspace, remote_config: str | None) -> None:
    root = wanted.root
    if not (root / "hone.toml").exists():
        return _refuse_foreign(root)
    there = load_workspace(root)
    if (there.class_names, there.image_size) != (wanted.class_names, wanted.image_size):
        raise ValueError(
            f"{root} is a workspace already, for {there.class_names} at {there.image_size} px, "
            f"not {wanted.class_names} at {wanted.image_size} px; choose another folder or edit "
            "its hone.toml"
        )
    config = root / ".dvc" / "config"
    if remote_config and config.exists() and remote_config != config.read_text(encoding="utf-8"):
        raise ValueError(
            f"{root} is a workspace already and {config} names a DVC remote; change it there, or "
            "with `dvc remote modify storage url ...`"
        )
    return None


def _refuse_foreign(root: Path) -> None:
    """Stop before a repository is put where another one keeps files."""
    inside = not (root / ".git").exists() and any((up / ".git").exists() for up in root.parents)
    if has_commits(root) or (inside and root.is_dir() and git(root, "ls-files")):
        raise ValueError(
            f"{root} holds files of another git repository, and a workspace has its own; "
            "name a new folder"
        )
