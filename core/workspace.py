"""The workspace: one folder with its own git, DVC, database, models and `hone.toml`."""

import json
import math
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from core.database import now
from core.files import write_atomically
from core.git import commit, git, has_commits, start_repository

LABEL_KINDS = (
    "classification",
)  # of hone.toml's `kind`; KINDS of labeling and of models have each
HOTKEYS = "1234567890qwertyuiopasdfghjklzxcvbnm"

GITIGNORE = (
    "/hone.sqlite*\n/desk/\n/traffic/\n/bento/\n/runs/\n/scores/\n/remote/\n/inbox/\n/.env\n"
    "/label-studio.json\n/simulated-annotators.json\n"
)
DVCIGNORE = "# What is being written just now, or was when it was killed.\n.*.part\n"
DVC_GITIGNORE = "/config.local\n/tmp\n/cache\n"
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
    autostage = true
    remote = storage
[cache]
    # Never links: editing a linked file would change the object under its old name.
    type = "reflink,copy"
['remote "storage"']
    url = "{url}"
"""
S3_LIMITS = "    connect_timeout = 10\n    read_timeout = 60\n"  # no network is waited for for ever


@dataclass(frozen=True)
class LabelClass:
    """One class people choose from: its name, its key in Label Studio, one line about it."""

    name: str
    hotkey: str
    hint: str = ""


@dataclass(frozen=True)
class Workspace:
    """What `hone.toml` says, and where everything of this workspace lies."""

    root: Path
    title: str
    purpose: str
    classes: tuple[LabelClass, ...]
    image_size: int
    price: float | None = None  # of one label, in whatever money one counts in
    kind: str = LABEL_KINDS[0]  # what a label is: one of LABEL_KINDS

    @property
    def class_names(self) -> list[str]:
        return [known.name for known in self.classes]

    @property
    def database(self) -> str:
        return f"sqlite:///{self.root / 'hone.sqlite'}"

    @property
    def shards(self) -> Path:
        return self.root / "data" / "shards"

    @property
    def labels_table(self) -> Path:
        return self.root / "data" / "labels.parquet"

    @property
    def desk(self) -> Path:
        """Plain images of the open assignments: the one folder Label Studio may read."""
        return self.root / "desk"

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
    def scores(self) -> Path:
        """What models said of samples, kept so that nobody is scored twice; it can be made anew."""
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
) -> Workspace:
    """Make `root` a workspace: `hone.toml`, a git repository of its own, DVC with a remote.

    A workspace that is there stays as it is, one half made by a killed run is completed; what
    contradicts it (other classes, another size or remote) is an error. `remote` is a folder or an
    address that DVC knows, such as s3://bucket/folder; without one it is the folder `remote`.
    """
    root = root.expanduser().resolve()
    toml = _toml(title or root.name, purpose, image_size, classes)
    wanted = _parse(toml, root / "hone.toml")
    dvc_config = _dvc_config(remote)
    _refuse_conflict(wanted, dvc_config if remote else None)
    for folder in (root, wanted.shards, wanted.desk, wanted.traffic, wanted.inbox):
        folder.mkdir(parents=True, exist_ok=True)
    start_repository(root)
    texts = {
        ".gitignore": GITIGNORE,
        ".dvcignore": DVCIGNORE,
        ".dvc/.gitignore": DVC_GITIGNORE,
        ".dvc/config": dvc_config,
        "hone.toml": toml,
    }
    for name, text in texts.items():
        if not (root / name).exists():
            write_atomically(root / name, text.encode())
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
    return _parse(config.read_text(encoding="utf-8"), config)


def default_hotkeys(names: Sequence[str], *, reserved: Collection[str] = ()) -> list[str]:
    """A key for each class, no two alike and none `reserved`; empty once the keys run out.

    A class named by one character has that character ("0" ... "9", "a"), the others the next key
    that is left.
    """
    free = [key for key in HOTKEYS if key not in reserved]
    keys: dict[int, str] = {}
    for number, name in enumerate(names):
        if name.lower() in free:
            keys[number] = name.lower()
            free.remove(name.lower())
    remaining = iter(free)
    return [keys.get(number) or next(remaining, "") for number in range(len(names))]


def _parse(text: str, config: Path) -> Workspace:
    root = config.parent
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{config}: {error}") from error
    unknown = set(found) - {"title", "purpose", "kind", "image_size", "price", "class"}
    if unknown:
        raise ValueError(
            f"{config}: unknown key {sorted(unknown)[0]!r}; "
            "known: title, purpose, kind, image_size, price, class"
        )
    classes = _classes(found.get("class", []), config)
    size = found.get("image_size", 224)
    if not isinstance(size, int) or not 8 <= size <= 1024:
        raise ValueError(
            f"{config}: image_size is {size!r}; a whole number from 8 to 1024 is needed"
        )
    kind = found.get("kind", LABEL_KINDS[0])
    if kind not in LABEL_KINDS:
        raise ValueError(f"{config}: kind is {kind!r}; choose from {', '.join(LABEL_KINDS)}")
    return Workspace(
        root=root,
        title=str(found.get("title", root.name)),
        purpose=str(found.get("purpose", "")),
        classes=classes,
        image_size=size,
        price=_price(found.get("price"), config),
        kind=kind,
    )


def _price(found: object, config: Path) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
        raise ValueError(f"{config}: price is {found!r}; a number such as 0.05 is needed, or none")
    return float(found)


def _classes(rows: list[dict[str, str]], config: Path) -> tuple[LabelClass, ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"{config}: class is {rows!r}; write a [[class]] table for each, with a name"
        )
    names = [str(row.get("name", "")) for row in rows]
    explicit = {str(row["hotkey"]) for row in rows if "hotkey" in row}
    without = [name for name, row in zip(names, rows, strict=True) if "hotkey" not in row]
    usual = iter(default_hotkeys(without, reserved=explicit))
    keys = [str(row["hotkey"]) if "hotkey" in row else next(usual) for row in rows]
    if len(names) < 2 or "" in names:
        raise ValueError(
            f"{config}: {names} are the class names; at least two, none empty, are needed"
        )
    for what, values in (("class name", names), ("hotkey", [key for key in keys if key])):
        doubled = sorted({value for value in values if values.count(value) > 1})
        if doubled:
            raise ValueError(f"{config}: the {what} {doubled[0]!r} stands twice")
    return tuple(
        LabelClass(name, key, str(row.get("hint", "")))
        for name, key, row in zip(names, keys, rows, strict=True)
    )


def _toml(title: str, purpose: str, image_size: int, classes: Sequence[str]) -> str:
    """The text of `hone.toml`; a JSON string is a TOML string too."""
    lines = [f"{key} = {_quoted(value)}" for key, value in (("title", title), ("purpose", purpose))]
    lines.append(f"image_size = {image_size}  # images are scaled to this many pixels on each side")
    lines.append("# price = 0.05  # of one label, for `hone budget`; in any money")
    for name, hotkey in zip(classes, default_hotkeys(classes), strict=True):
        lines += ["", "[[class]]", f"name = {_quoted(name)}", f"hotkey = {_quoted(hotkey)}"]
        lines.append('hint = ""  # one line that annotators read')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _dvc_config(remote: str | None) -> str:
    if remote is None:
        return DVC_CONFIG.format(url="../remote")
    if "://" not in remote:
        return DVC_CONFIG.format(url=Path(remote).expanduser().resolve())
    if "@" in urlsplit(remote).netloc:
        raise ValueError(
            f"remote {remote.split('://')[0]}://...: it holds a user or a key, and git would keep "
            "it; give the address alone, credentials by the environment (AWS_ACCESS_KEY_ID, ...)"
        )
    return DVC_CONFIG.format(url=remote) + (S3_LIMITS if remote.startswith("s3://") else "")


def _refuse_conflict(wanted: Workspace, dvc_config: str | None) -> None:
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
    if dvc_config and config.exists() and dvc_config != config.read_text(encoding="utf-8"):
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
