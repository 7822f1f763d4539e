"""Drains a workspace every second until it is killed: `python -m benchmarks.load.drain FOLDER`."""

import sys
import time
from pathlib import Path

from core.database import connect
from core.workspace import load_workspace
from models.serving.prediction_store import drain

if __name__ == "__main__":
    workspace = load_workspace(Path(sys.argv[1]))
    engine = connect(workspace.database)
    while True:
        drain(engine, workspace.traffic)
        time.sleep(1.0)
