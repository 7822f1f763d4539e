"""The strategies on plain arrays: no workspace, no database, no torch."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
import numpy as np
from labeling.strategies import STRATEGIES, Pool

rng = np.random.default_rng(0)
probs = rng.dirichlet(np.ones(3), 200)
pool = Pool(probs, rng.normal(size=(200, 8)).astype(np.float32), np.stack([probs, probs[::-1]]))
counts = {name: len(one.choose(pool, 5, rng).rows) for name, one in STRATEGIES.items()}
print(json.dumps({"counts": counts, "modules": sorted({m.split(".")[0] for m in sys.modules})}))
"""
FOREIGN = {"core", "settings", "models", "tasks", "sqlalchemy", "torch", "pandas", "prefect",
           "sklearn", "scipy"}  # fmt: skip


def test_every_strategy_chooses_from_arrays_with_numpy_alone() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert set(result["counts"].values()) == {5}
    assert not FOREIGN & set(result["modules"])
