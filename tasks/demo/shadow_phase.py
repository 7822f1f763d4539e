"""The recovered model of the demo, for a short time in shadow before it answers anybody."""

import time
from collections.abc import Sequence

import httpx

from core.files import write_atomically
from models.registry.releases import Mode, current_release
from models.rollout.spool import drain_shadow
from tasks.context import open_context
from tasks.demo.traffic import send_images
from tasks.operate.trial_standing import standing_of_trial

IMAGES = 60  # that the shadow answers before it goes on; a team would ask for a thousand
CHOSEN = {  # lines of hone.toml
    '# path = "direct"': 'path = "shadow"',
    "# min_requests = 1000": f"min_requests = {IMAGES}",
    "# min_hours = 24.0": "min_hours = 0.0",
    "# canary_share = 10": "canary_share = 0",
}
PATIENCE, TURN = 60.0, 6.0  # seconds: in all, and until images are sent again
LOOKS = 6  # at the status in a row, by either worker


def choose_path() -> None:
    """Set in hone.toml that a promoted version goes through a shadow first."""
    path = open_context().workspace.root / "hone.toml"
    text = path.read_text(encoding="utf-8")
    for default, chosen in CHOSEN.items():
        if text.count(f"\n{default} ") != 1:
            raise ValueError(f"{path} has no line {default!r} to set")
        text = text.replace(f"\n{default} ", f"\n{chosen} ")
    write_atomically(path, text.encode())


def is_in_shadow() -> bool:
    """Whether a challenger is in shadow; not if its verdict was no promotion."""
    current = current_release(open_context().engine)
    return current is not None and current.mode == Mode.SHADOW


def send_until_compared(url: str, images: Sequence[tuple[str, bytes]]) -> str:
    """Send images until the shadow has answered enough of them; return how it stands."""
    ctx, deadline = open_context(), time.monotonic() + PATIENCE
    while not all(_has_shadow(url) for _ in range(LOOKS)) and time.monotonic() < deadline:
        time.sleep(0.1)
    while time.monotonic() < deadline:
        send_images(url, images)
        turn = time.monotonic() + TURN
        while time.monotonic() < turn:
            drain_shadow(ctx.engine, ctx.workspace.traffic)
            standing = standing_of_trial(ctx)
            if standing is None or standing.progress.requests >= IMAGES:
                return standing.sentence() if standing else "it was ended"
            time.sleep(0.1)
    raise RuntimeError(f"the shadow answered fewer than {IMAGES} images in {PATIENCE:.0f} s")


def _has_shadow(url: str) -> bool:
    """Whether the worker that answers has loaded the challenger."""
    return bool(httpx.get(f"{url}/status", timeout=10).json()["mode"] == Mode.SHADOW)
