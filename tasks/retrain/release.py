"""A verdict to a release, and the release to a package that can be served."""

from prefect import task

from models.judging.verdict import Outcome
from models.registry import releases, versions
from models.rollout.policy import FULL
from models.watching.alerts import Alert, Kind
from tasks.context import open_context
from tasks.retrain.runtime import chosen_for_release
from tasks.retrain.trial import begin_trial, is_held
from tasks.retries import is_transient_error
from tasks.watch.send import record_alert, record_recovery

UNPACKAGED = "release"  # what its alerts are about


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def release_winner(verdict_id: str) -> str | None:
    """Put a promoted challenger into service; return its version, None when it does not answer yet.

    With `[release] path` of shadow or canary its trial begins, which goes on in `watch_traffic`. On
    any path it waits while a person holds a trial. Idempotent: the release pointer moves once for a
    verdict, and only from the champion that the challenger was compared with.
    """
    ctx = open_context()
    verdict = versions.find_verdict(ctx.engine, verdict_id)
    if verdict.outcome != Outcome.PROMOTE:
        print(f"{verdict.challenger} is not released: {verdict.outcome}")
        return None
    with ctx.engine.connect() as connection:
        rows = releases.release_rows(connection)
    current = rows[-1] if rows else None
    if releases.releasing_verdict(ctx.engine, verdict.challenger) is not None:
        in_service = current is not None and current.champion == verdict.challenger
        return str(verdict.challenger) if in_service else None
    if is_held(rows, verdict.challenger):
        return None
    if current is not None and ctx.policies.release.steps[0] != FULL:
        begin_trial(ctx, verdict, rows)
        return None
    releases.release(
        ctx.engine,
        version=verdict.challenger,
        verdict_id=verdict_id,
        who=versions.AUTOMATIC,
        why="; ".join(verdict.reasons),
        expected=current.number if current else 0,
    )
    print(f"{verdict.challenger} is in service")
    return str(verdict.challenger)


@task(retries=1, retry_delay_seconds=5, retry_condition_fn=is_transient_error, timeout_seconds=1800)
def package_release(version: str) -> str:
    """Build the bento of a release; return its tag. Idempotent: built once for a version."""
    from models.registry.bento import package

    ctx = open_context()
    try:
        tag = package(ctx.workspace, version, chosen_for_release(ctx, version))
    except Exception as error:
        record_alert(ctx, _not_packaged(version, error))
        raise
    record_recovery(ctx, UNPACKAGED, title=f"{version} is packaged", body=f"It is bento {tag}.")
    print(f"packaged as {tag}")
    return tag


def _not_packaged(version: str, error: Exception) -> Alert:
    return Alert(
        about=UNPACKAGED,
        kind=Kind.RELEASE,
        key=version,
        title=f"{version} is released and could not be packaged",
        body=f"A service that starts now gets the bento of the version before. {error}",
        command="hone retrain",
    )
