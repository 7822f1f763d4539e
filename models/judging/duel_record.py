"""What a duel's verdict follows from: what was fixed when it began, and the answers counted since.

Nothing else: no weights, no images, no clock. So anybody who has the record gets the same verdict.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.judging.criteria.gain import gain, loss
from models.judging.criteria.groups import CLASS, Cells, judge_groups
from models.judging.criterion import Criterion, Status, criterion_of
from models.judging.duel import Counts, DuelPlan, DuelState, Stratum, duel_state
from models.judging.evidence import Mode
from models.judging.gate import conclude
from models.judging.gate_evidence import Evidence, Judged
from models.judging.verdict import GatePolicy, Outcome, Verdict
from models.kinds import KINDS
from models.registry.model_card import json_value

if TYPE_CHECKING:
    import pandas as pd

NAMES = {1: "wins", 0: "ties", -1: "losses"}  # of values, in `Counts`
BY_ANSWERS = ("gain", "loss", "classes")  # the criteria that a duel decides
AGAIN = "`hone retrain` judges it against what is in service now"


@dataclass(frozen=True)
class DuelRecord:
    """What was fixed when a duel began; `as_json` is stored with it."""

    plan: DuelPlan
    policy: GatePolicy
    kind: str
    champion: str
    challenger: str
    champion_classes: tuple[str, ...]
    challenger_classes: tuple[str, ...]
    criteria: tuple[Criterion, ...]  # those that audit rows and files decide
    metrics: dict[str, Any]  # figures of the audit rows, for those who read the verdict
    rows_fingerprint: str  # of the audit rows and of what is asked

    def as_json(self) -> dict[str, Any]:
        """The record as JSON."""
        criteria = [one.as_row() for one in self.criteria]
        return dict(json_value({**asdict(self), "criteria": criteria}))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "DuelRecord":
        """The record that `as_json` made."""
        plan = stored["plan"]
        strata = tuple(Stratum(**one) for one in plan["strata"])
        return cls(
            **{
                **stored,
                "plan": DuelPlan(**{**plan, "mode": Mode(plan["mode"]), "strata": strata}),
                "policy": GatePolicy(**stored["policy"]),
                "champion_classes": tuple(stored["champion_classes"]),
                "challenger_classes": tuple(stored["challenger_classes"]),
                "criteria": tuple(criterion_of(row) for row in stored["criteria"]),
            }
        )

    def value(
        self, champion_output: list[float], challenger_output: list[float], label: str
    ) -> int:
        """1 where only the challenger is right, -1 where only the champion is, else 0.

        Each model answers with its own classes: a label that is none of them is one it misses.
        """
        champion = self._credit(champion_output, self.champion_classes, label)
        challenger = self._credit(challenger_output, self.challenger_classes, label)
        return int(challenger > champion) - int(challenger < champion)

    def _credit(self, output: list[float], classes: tuple[str, ...], label: str) -> float:
        rows = np.array([output], np.float32)
        return float(KINDS[self.kind].credit(rows, [label], classes)[0])

    def answers(self, row: Any) -> tuple[str, str]:
        """What champion and challenger say of a sample of the duel."""
        kind = KINDS[self.kind]
        champion, challenger = (
            kind.answers(np.array([output], np.float32), classes)[0].label
            for output, classes in (
                (row.champion_output, self.champion_classes),
                (row.challenger_output, self.challenger_classes),
            )
        )
        return champion, challenger

    def value_of(self, row: Any) -> int | None:
        """The value of a sample of the duel, from outputs and answer; None before it is counted."""
        if row.counted_at is None:
            return None
        if row.answer is None:
            return 0
        return self.value(row.champion_output, row.challenger_output, str(row.answer))

    def counts(self, samples: "pd.DataFrame") -> dict[str, Counts]:
        """The answers by population, from the samples of the duel (`ledger.duels.DUEL_SAMPLES`)."""
        counts = {stratum.population: Counts() for stratum in self.plan.strata}
        for row in samples[samples["counted_at"].notna()].itertuples():
            value = self.value_of(row) or 0
            name = "doubtful" if row.answer is None else NAMES[value]
            before = counts[str(row.population)]
            counts[str(row.population)] = replace(before, **{name: getattr(before, name) + 1})
        return counts

    def state(self, samples: "pd.DataFrame") -> DuelState:
        """Where the duel stands by these samples.

        What promotes at the end of a round stays: further rounds ask about classes only.
        """
        counted, asked = samples["counted_at"].notna(), samples["round_id"]
        names = sorted(asked.dropna().unique(), key=lambda name: (len(name), name))
        for number in range(len(names)):
            until = samples[asked.isin(names[: number + 1]) | (asked.isna() & counted)]
            if until["counted_at"].isna().any():
                break
            state = duel_state(self.plan, self.counts(until))
            if state.outcome == Outcome.PROMOTE:
                return state
        return duel_state(self.plan, self.counts(samples))

    def suspected(self, samples: "pd.DataFrame") -> list[str]:
        """The classes that may have fallen though the whole has gained: more answers tell."""
        if self.state(samples).outcome != Outcome.PROMOTE:
            return []
        judged = self._classes(samples)
        if any(one.status == Status.FAIL for one in judged):
            return []
        return [one.population for one in judged if one.status == Status.UNKNOWN]

    def verdict(
        self, duel_id: str, samples: "pd.DataFrame", *, stopped: str | None = None
    ) -> Verdict:
        """The verdict on the challenger; `stopped` is why the duel ended without an outcome."""
        state = self.state(samples)
        if stopped is None:
            criteria = (*self._by_answers(state), *self._classes(samples), *self.criteria)
        else:
            criteria = (Criterion("duel", Status.UNKNOWN, stopped, remedy=AGAIN), *self.criteria)
        duel = json_value({"duel_id": duel_id, "stopped": stopped, **asdict(state)})
        return conclude(criteria, {**self.metrics, "number": self.plan.number, "duel": duel})

    def _by_answers(self, state: DuelState) -> list[Criterion]:
        evidence = Evidence(
            challenger=Judged(self.challenger),
            champion=Judged(self.champion),
            classes=self.challenger_classes,
            rows={},
            kind=KINDS[self.kind],
            number=self.plan.number,
            duel=state,
        )
        return [*gain(evidence, self.policy), *loss(evidence, self.policy)]

    def _classes(self, samples: "pd.DataFrame") -> list[Criterion]:
        """Classes by the audit rows and the answers together; slices need more than a label."""
        rows = self.metrics.get("groups")
        if rows is None:
            return []
        answered = samples[samples["counted_at"].notna() & samples["answer"].notna()]
        judged = judge_groups(
            {name: tuple(cells) for name, cells in rows.items()},
            self._answered_cells(answered),
            self.policy,
            mistaken=self._mistaken(answered),
            disagreement=max((stratum.share for stratum in self.plan.strata), default=None),
        )
        return [one for one in judged if one.name in BY_ANSWERS]

    def _mistaken(self, answered: "pd.DataFrame") -> dict[str, tuple[int, int]]:
        """For each class how often champion and challenger took another for it."""
        answers = [(str(row.answer), *self.answers(row)) for row in answered.itertuples()]
        champion = Counter(one for answer, one, _ in answers if one != answer)
        challenger = Counter(other for answer, _, other in answers if other != answer)
        return {
            f"{CLASS}{name}": (champion[name], challenger[name])
            for name in champion.keys() | challenger.keys()
        }

    def _answered_cells(self, answered: "pd.DataFrame") -> dict[str, Cells]:
        counts: dict[str, list[int]] = {}
        columns = (answered[name] for name in ("answer", "champion_output", "challenger_output"))
        for label, champion_output, challenger_output in zip(*columns, strict=True):
            challenger = self._credit(challenger_output, self.challenger_classes, label)
            champion = self._credit(champion_output, self.champion_classes, label)
            cells = counts.setdefault(f"{CLASS}{label}", [0, 0, 0, 0])
            cells[2 * (not challenger) + (not champion)] += 1
        return {name: (one[0], one[1], one[2], one[3]) for name, one in counts.items()}


def may_be_decided_by_answers(verdict: Verdict) -> bool:
    """Whether only the criteria that a duel decides are open, and none of them has failed.

    A class of which audit rows cannot tell whether it fell is open: the answers tell.
    """
    others = [one for one in verdict.criteria if one.name not in BY_ANSWERS]
    mine = [one for one in verdict.criteria if one.name in BY_ANSWERS]
    is_open = bool(mine) and all(one.status != Status.FAIL for one in mine)
    return is_open and all(one.status == Status.PASS for one in others)
