"""Hands one message to one channel: run by path, as a process that is killed if it hangs.

Standard input is JSON: url, title, body, message_id, seconds, and picture (base64) or null. The
last line of standard output is JSON: `error`, null when the channel took the message. The address
comes by standard input, because command lines and environments can be read by others.
"""

import base64
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PICTURE = "images.png"
NO_SERVICE = (
    "it is no address that Apprise takes: correct it in HONE_ALERTS; "
    "https://github.com/caronc/apprise/wiki lists the services"
)


class _Problems(logging.Handler):
    """Collects what Apprise logs about a failure: it returns only that there was one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> None:
    """Send what standard input asks for; say on standard output what came of it."""
    asked = json.load(sys.stdin)
    signal.alarm(int(asked.pop("seconds")) + 1)  # whoever started us may be gone by then
    encoded = asked.pop("picture")
    picture = base64.b64decode(encoded) if encoded else None
    is_file = asked["url"].partition(":")[0].lower() == "file"
    with contextlib.redirect_stdout(sys.stderr):
        error = (write_file if is_file else call_service)(**asked, picture=picture)
    print(json.dumps({"error": error}))


def write_file(
    url: str, title: str, body: str, message_id: str, picture: bytes | None
) -> str | None:
    """Write the message as files into a folder, under its id: sent twice, it is there once."""
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    if parts.netloc or not folder.is_absolute():
        return "write file:///FOLDER with the whole path of a folder"
    try:
        folder.mkdir(exist_ok=True)
        if picture:
            _replace(folder / f"{message_id}.png", picture)
        _replace(folder / f"{message_id}.txt", f"{title}\n\n{body}\n".encode())
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    return None


def call_service(
    url: str, title: str, body: str, message_id: str, picture: bytes | None
) -> str | None:
    """Let Apprise call the service of the address."""
    import apprise
    from apprise.attachment.memory import AttachMemory

    problems = _Problems()
    logging.getLogger("apprise").addHandler(problems)
    asset = apprise.AppriseAsset(async_mode=False, secure_logging=True, plugin_paths=[])
    service: Any = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        return NO_SERVICE
    attached = None
    if picture:
        attached = apprise.AppriseAttachment()
        attached.add(AttachMemory(content=picture, name=PICTURE, mimetype="image/png"))
    text = apprise.NotifyFormat.TEXT
    if service.notify(body=body, title=title, body_format=text, attach=attached):
        return None
    return "; ".join(problems.lines) or "the service did not take the message"


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)


if __name__ == "__main__":
    main()
