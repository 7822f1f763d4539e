"""Whether served traffic still looks like the training data: `DETECTORS` by name."""

from models.watching.ks import ks_signal
from models.watching.signals import Detector

DETECTORS: dict[str, Detector] = {"ks": ks_signal}
