"""What DVC is told in a workspace: its remote, what it ignores, and a site cache of its own."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from core.files import write_atomically

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
SITE_CACHE = Path(".dvc", "tmp", "site-cache")
CORE_LINE = re.compile(r"^[ \t]*\[[ \t]*core[ \t]*\][^\n]*\n", re.MULTILINE)
SITE_CACHE_LINE = re.compile(r"^[ \t]*site_cache_dir[ \t]*=([^\n]*)", re.MULTILINE)


def dvc_config(remote: str | None) -> str:
    """The text of `.dvc/config` for a remote: a folder or an address that DVC knows."""
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


def use_private_site_cache(root: Path) -> None:
    """Have DVC keep its indexes for the workspace at `root` inside of it, for its owner only.

    By default they lie in /var/tmp/dvc, which DVC makes with mode 0777: any user of the machine
    could put pickles there that the next command loads. The address is in `.dvc/config.local`, so
    that a person's `dvc` uses it, too; a folder that somebody chose there stays. DVC takes an
    absolute path only, so it is written anew when the workspace has moved.
    """
    if not (root / ".dvc").is_dir():
        return  # nothing of DVC's is left there, which the next command that needs it reports
    cache = root / SITE_CACHE
    for folder in (cache, cache / "repo"):  # DVC would make the second one with mode 0777
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    path = root / ".dvc" / "config.local"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if str(cache) not in text:
        write_atomically(path, _with_site_cache(text, cache).encode())


def _with_site_cache(text: str, cache: Path) -> str:
    """The text of a configuration of DVC with our address in it; the rest stays as it is."""
    quote = "'" if '"' in str(cache) else '"'
    line = f"    site_cache_dir = {quote}{cache}{quote}"
    chosen = SITE_CACHE_LINE.search(text)
    if chosen is None:
        text += "\n" if text and not text.endswith("\n") else ""
        core = CORE_LINE.search(text)
        at, begin = (core.end(), "") if core else (len(text), "[core]\n")
        return f"{text[:at]}{begin}{line}\n{text[at:]}"
    if not Path(chosen[1].strip("\"' \t")).match(str(SITE_CACHE)):
        return text
    return text[: chosen.start()] + line + text[chosen.end() :]
