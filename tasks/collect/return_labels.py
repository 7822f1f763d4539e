"""Settled labels on their way back to those who asked the service for a prediction."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from prefect import task

from core.database import writing
from core.locks import LockBusy, fence, only_writer
from core.text import counted
from models.serving.callback_delivery import deliver
from models.serving.callback_store import DueCall, drain_callbacks, due_calls, record_call
from models.serving.callbacks import rules_of, server_of
from tasks.context import open_context
from tasks.retries import is_transient_error

LOCK = "callbacks"
AT_ONCE = 8  # calls
FAILURES = 3  # of a server in a run: then its other labels wait for the next one
PASSED_OVER = "passed over"


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def return_labels() -> int:
    """Call the addresses that wait for a label which is settled; return how many took it.

    A call that fails is made again, with ever longer waits between, ten times in all. A run that is
    killed after a call makes it once more, under the same X-Hone-Delivery.
    """
    ctx = open_context()
    secret = ctx.settings.callback_secret
    plain = secret.get_secret_value() if secret else ""
    rules = rules_of(ctx.settings.callbacks, plain)
    taken, errors = 0, list[str]()
    try:
        with only_writer(ctx.engine, LOCK) as token:
            drain_callbacks(ctx.engine, token, ctx.workspace.traffic)
            with ctx.engine.connect() as connection:
                calls = due_calls(connection) if rules else []
            failures: Counter[object] = Counter()

            def made(call: DueCall) -> str | None:
                server = server_of(call.url)
                if failures[server] >= FAILURES:
                    return PASSED_OVER
                error = deliver(call, rules, plain)
                failures[server] += error is not None
                return error

            with ThreadPoolExecutor(AT_ONCE) as pool:
                for call, error in zip(calls, pool.map(made, calls), strict=True):
                    if error == PASSED_OVER:
                        continue
                    with writing(ctx.engine) as connection:
                        fence(connection, token)
                        record_call(connection, call, error)
                    taken += error is None
                    errors += [error] if error else []
    except LockBusy as busy:
        print(f"labels are returned at the next collect: {busy}")
    if taken or errors:
        failed = (
            f"; {counted(len(errors), 'call')} failed, the first: {errors[0]}" if errors else ""
        )
        print(f"{counted(taken, 'label')} returned to whoever asked{failed}")
    return taken
