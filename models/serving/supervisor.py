"""A worker of `bentoml serve` ends when its supervisor is gone.

The supervisor may be killed with SIGKILL. Its workers would then go on answering on the port, with
a model that nobody can replace, beside those of the next `bentoml serve`.
"""

import errno
import logging
import os
import signal
import socket
import threading
import time

import psutil

log = logging.getLogger(__name__)
SUPERVISOR = "HONE_SUPERVISOR"  # process id, set for the workers by the process that starts them
LOOK_SECONDS = 0.25
PORT_SECONDS = 3.0  # in which the workers of a killed supervisor leave the port
GRACE_SECONDS = 1.0  # for answers that are on their way; then the process ends


def name_supervisor() -> None:
    """Record this process as the supervisor of the workers that it is about to start."""
    os.environ[SUPERVISOR] = str(os.getpid())


def end_with_supervisor() -> None:
    """End this process soon after its supervisor, even one that was gone before we were ready."""
    named = os.environ.get(SUPERVISOR)
    if named is not None and int(named) != os.getpid():
        threading.Thread(target=_watch, args=(int(named),), daemon=True).start()


def refuse_taken_port(host: str, port: int) -> None:
    """An error when another server listens on the port, also one of the same command.

    Without it the command would end in a traceback. Two services never share a port: the system
    lets one listen. The workers of a service that was killed leave it within two seconds.
    """
    until = time.monotonic() + PORT_SECONDS
    while not _is_free(host, port):
        if time.monotonic() > until:
            raise ValueError(
                f"port {port} of {host} is taken by another server, perhaps by a service that was "
                f"started before: end it, or give this one a port of its own with `--port`"
            )
        time.sleep(LOOK_SECONDS)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as BentoML's own
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


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
