"""What is served, changed by a named person: released, tried in shadow or canary, taken back."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine

from models.registry import challengers, releases, rollbacks
from models.registry.halts import current_halt
from models.registry.model_store import entry
from models.registry.releases import Mode, Release
from models.registry.stored_entries import damage_of
from models.registry.versions import find_model
from tasks.context import Context, open_context

FOLLOWED = "running services follow within two seconds"


@dataclass(frozen=True)
class Change:
    """What is released now, and what was until then (None before the first release)."""

    before: Release | None
    now: Release
    halt: str | None  # that is still in force, in words

    def lines(self) -> Iterator[str]:
        """What changed, in sentences for whoever changed it."""
        before, now = self.before, self.now
        if before is not None and before.number == now.number:
            yield f"nothing changed: release {now.number} says so already, by {now.who}"
        else:
            yield f"release {now.number}: {_state(now)}; by {now.who}, {FOLLOWED}"
            yield from _ended(before, now)
        if self.halt is not None:
            yield f"the service is still halted ({self.halt}): `hone resume` lets it answer again"


def release_by_hand(version: str, *, who: str, why: str) -> Change:
    """Put a version into service by a person's word, whatever the verdict."""
    ctx, before = _opened(version)
    from tasks.retrain.runtime import chosen_for_release

    chosen_for_release(ctx, version)  # before a service has to choose for itself
    releases.release(
        ctx.engine,
        version=version,
        verdict_id=None,
        who=who,
        why=why,
        override=True,
        expected=_number(before),
    )
    return _change(ctx.engine, before)


def challenge_by_hand(version: str, mode: Mode, share: float, *, who: str, why: str) -> Change:
    """Put a version in shadow or canary beside the champion."""
    ctx, before = _opened(version)
    from tasks.retrain.runtime import chosen_for_release

    chosen_for_release(ctx, version)  # as the champion's was: the two are timed against each other
    challengers.set_challenger(
        ctx.engine,
        version=version,
        mode=mode,
        share=share,
        who=who,
        why=why,
        expected=_number(before),
    )
    return _change(ctx.engine, before)


def end_by_hand(mode: Mode, *, who: str, why: str) -> Change:
    """End the shadow, or the canary: the champion answers alone."""
    ctx, before = _opened()
    if before is not None and before.challenger and before.mode != mode:
        raise ValueError(
            f"{before.challenger} is in {before.mode}, not in {mode}: `hone {before.mode} --off` "
            "ends that"
        )
    challengers.end_challenger(ctx.engine, who=who, why=why, expected=_number(before))
    return _change(ctx.engine, before)


def roll_back_by_hand(to: str | None, *, who: str, why: str) -> Change:
    """Put an earlier version in service again."""
    ctx, before = _opened(to)
    if to is None:
        with ctx.engine.connect() as connection:
            target = rollbacks.rollback_target(releases.release_rows(connection)).champion
        refuse_damaged(ctx, target)
    rollbacks.roll_back(ctx.engine, to=to, who=who, why=why, expected=_number(before))
    return _change(ctx.engine, before)


def package_champion() -> str:
    """Make the bento of the champion the newest one, built if it is not yet; return its tag."""
    from models.registry.bento import package
    from tasks.retrain.runtime import chosen_for_release

    ctx = open_context()
    version = str(releases.champion(ctx.engine))
    return package(ctx.workspace, version, chosen_for_release(ctx, version))


def _opened(version: str | None = None) -> tuple[Context, Release | None]:
    """The workspace and its release; a version that could not be served is an error."""
    ctx = open_context()
    if version is not None:
        refuse_damaged(ctx, version)
    return ctx, releases.current_release(ctx.engine)


def refuse_damaged(ctx: Context, version: str) -> None:
    """An error where the stored model is not as it was saved."""
    sha256 = find_model(ctx.engine, version).weights_sha256
    folder = entry(ctx.workspace.bento_home, version)
    damage = damage_of(folder, sha256)
    if damage:
        raise ValueError(
            f"{version} is not whole, and no service could load it: {damage}; nothing changed. "
            f"Restore {folder} from a copy, or name another version"
        )


def _number(release: Release | None) -> int:
    return release.number if release else 0


def _change(engine: Engine, before: Release | None) -> Change:
    current, halt = releases.current_release(engine), current_halt(engine)
    assert current is not None  # one was just made
    return Change(before, current, f"{halt.policy}, by {halt.who}" if halt else None)


def _state(release: Release) -> str:
    if release.mode == Mode.CANARY:
        beside = f"{release.challenger} answers {release.share:g} % of the clients"
        return f"{beside}, {release.champion} the others"
    if release.mode == Mode.SHADOW:
        return f"{release.champion} answers, {release.challenger} is compared in shadow"
    return f"{release.champion} is in service"


def _ended(before: Release | None, now: Release) -> Iterator[str]:
    if before is None:
        return
    if before.challenger and before.challenger != now.challenger:
        yield f"the {before.mode} of {before.challenger} ended"
    if before.front and before.front != now.front:
        moved = before.champion != now.champion
        why = f": its threshold was for {before.champion}" if moved else ""
        yield f"{before.front} is no longer in front{why}"
    if before.champion != now.champion:
        back = f"`hone rollback --to {before.champion}` returns to it"
        yield f"{before.champion} is out of service; {back}"
