"""A worker of `bentoml serve` ends when its supervisor is gone.

The supervisor may be killed with SIGKILL. Its workers would then go on answering on the port, with
a model that nobody can replace, beside those of the next `bentoml serve`.
"""

import logging
import os
import signal
import threading
import time

import psutil

log = logging.getLogger(__name__)
SUPERVISOR = "HONE_SUPERVISOR"  # process id, set for the workers by the process that starts them
LOOK_SECONDS = 0.25
GRACE_SECONDS = 1.0  # for answers that are on their way; then the process ends


def name_supervisor() -> None:
    """Record this process as the supervisor of the workers that it is about to start."""
    os.environ[SUPERVISOR] = str(os.getpid())


def end_with_supervisor() -> None:
    """End this process soon after its supervisor, even one that was gone before we were ready."""
    named = os.environ.get(SUPERVISOR)
    if named is not None and int(named) != os.getpid():
        threading.Thread(target=_watch, args=(int(named),), daemon=True).start()


def _watch(process_id: int) -> None:
    try:
        supervisor = psutil.Process(process_id)
        while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
            time.sleep(LOOK_SECONDS)
    except psutil.NoSuchProcess:
        log.warning("the supervisor %d is gone: this worker ends", process_id)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
