"""Where the trial of a challenger stands, for those who ask and for the check that decides."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from labeling.ledger import duels
from models.judging.duel import Stratum
from models.rollout.standing import TrialStanding, trial_standing
from tasks.context import Context

Strata = Mapping[tuple[str, str], Sequence[Stratum]]


def strata_of(connection: Connection) -> Strata:
    """What duels counted of disagreements, by champion and challenger."""
    return {
        (one.champion, one.challenger): [
            Stratum(**stratum) for stratum in one.plan["plan"]["strata"]
        ]
        for one in duels.all_duels(connection)
    }


def standing_of_trial(ctx: Context) -> TrialStanding | None:
    """Where the trial under way stood at its last check; None without one."""
    with ctx.engine.connect() as connection:
        return trial_standing(connection, ctx.policies.release, strata_of(connection))
