"""The criteria of a verdict: one more is a function and a line here.

Each takes the evidence and the policy and returns what it measured, a `Criterion` for each
population, class or slice that it is about. An empty list: it does not apply. The first one says
whether the rows can be compared at all; the others are asked only if they can.
"""

from collections.abc import Callable

from models.judging.criteria.accuracy import class_accuracy, first_accuracy, least_accuracy
from models.judging.criteria.calibration import calibration
from models.judging.criteria.cost import latency, size
from models.judging.criteria.gain import gain, loss
from models.judging.criteria.groups import classes_and_slices
from models.judging.criteria.robustness import robustness
from models.judging.criteria.validity import distinct, leakage, rows
from models.judging.criterion import Criterion
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy

ROWS, GAIN = "rows", "gain"
CRITERIA: dict[str, Callable[[Evidence, GatePolicy], list[Criterion]]] = {
    ROWS: rows,
    "leakage": leakage,
    "distinct": distinct,
    GAIN: gain,
    "loss": loss,
    "groups": classes_and_slices,
    "first_accuracy": first_accuracy,
    "least_accuracy": least_accuracy,
    "class_accuracy": class_accuracy,
    "calibration": calibration,
    "robustness": robustness,
    "latency": latency,
    "size": size,
}
