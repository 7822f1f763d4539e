"""Whether served traffic still looks like the training data: `DETECTORS` by name."""

from models.watching.chi2 import chi2
from models.watching.ks import ks
from models.watching.lsdd import alibi_mmd, lsdd
from models.watching.martingale import martingale
from models.watching.mmd import mmd
from models.watching.psi import psi
from models.watching.signals import DETECTORS
from models.watching.uncertainty import uncertainty

DETECTORS.update(
    {
        "martingale": martingale,
        "ks": ks,
        "mmd": mmd,
        "alibi-mmd": alibi_mmd,
        "lsdd": lsdd,
        "chi2": chi2,
        "uncertainty": uncertainty,
        "psi": psi,
    }
)
