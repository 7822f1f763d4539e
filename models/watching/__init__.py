"""Whether served traffic still looks like the training data: `DETECTORS` by name."""

from models.watching.ks import ks
from models.watching.signals import DETECTORS

DETECTORS.update({"ks": ks})
