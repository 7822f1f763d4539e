"""The ladder: each rule in both directions, and what holds for every evidence and standing."""

from dataclasses import replace
from itertools import product

import pytest

from models.watching.ladder import (
    BLIND_CHECKS,
    CALM_CHECKS,
    CALM_CHECKS_AT_MOST,
    PATIENCE,
    Evidence,
    LadderRules,
    Rung,
    Standing,
    Step,
    calm_needed,
    next_rung,
)

NO_TRAINING = (False, "no cause")
CALM = Evidence(log_evidence=0.0, threshold=8.0)
NOTED = Evidence(log_evidence=4.0, threshold=8.0)
ALARM = Evidence(log_evidence=9.0, threshold=8.0, alarm=True)
BLIND = Evidence(measured=False, threshold=8.0)
FAULT = replace(ALARM, kind="instrumentation fault")
POOR = replace(ALARM, accuracy_high=0.4)
NONE = Standing()
ASKED = Standing(step=Step.LABEL, hours_since_labels=1.0)
ANSWERED = Standing(
    step=Step.LABEL, hours_since_labels=30.0, round_id="round-0004", asked=50, answered=50
)
RETRAINED = replace(ANSWERED, retrained=True, hours_since_release=2.0)
HALTING = LadderRules(halt="refuse", halt_below=0.5)


def rung(
    evidence: Evidence,
    standing: Standing = NONE,
    rules: LadderRules = LadderRules(),  # noqa: B008 - frozen
    retrain: tuple[bool, str] = NO_TRAINING,
) -> Rung:
    return next_rung(evidence, standing, rules, retrain=retrain)


def test_calm_traffic_takes_no_step_and_names_every_rule_that_was_not_met() -> None:
    made = rung(CALM)
    assert (made.step, made.asks_for_labels, made.ends) == (Step.NONE, False, False)
    assert [line.split(":")[0] for line in made.why_not] == [
        "halt", "alert", "retrain", "label", "note",
    ]  # fmt: skip
    assert "evidence 0.0 of 8.0" in made.why_not[3]


def test_evidence_is_noted_from_half_the_threshold_on() -> None:
    assert rung(NOTED).step == Step.NOTE
    assert rung(replace(NOTED, log_evidence=3.99)).step == Step.NONE


def test_an_alarm_asks_for_labels() -> None:
    made = rung(ALARM)
    assert (made.step, made.asks_for_labels) == (Step.LABEL, True)
    assert made.why[0] == "label: alarm, evidence 9.0 of 8.0"


def test_a_watch_that_is_blind_for_a_day_alerts_once() -> None:
    assert rung(replace(BLIND, blind_checks=BLIND_CHECKS - 1)).step == Step.NONE
    made = rung(replace(BLIND, blind_checks=BLIND_CHECKS))
    assert (made.step, made.asks_for_labels) == (Step.ALERT, False)
    assert made.why[0] == "alert: 24 checks in a row could not tell: nothing is watched"
    again = rung(replace(BLIND, blind_checks=30), Standing(step=Step.ALERT))
    assert not any(line.startswith("alert") for line in again.why)


def test_an_alarm_of_outcomes_alone_asks_for_labels_and_a_decline_below_it_does_not() -> None:
    made = rung(replace(ALARM, decay=True, declined=True))
    assert (made.step, made.asks_for_labels) == (Step.LABEL, True)
    assert made.why[0].startswith("label: alarm by decay")
    made = rung(replace(CALM, declined=True))
    assert (made.step, made.asks_for_labels) == (Step.NONE, False)


def test_a_batch_that_cannot_be_paid_for_is_no_batch_but_an_alert() -> None:
    broke = replace(NONE, unpaid="a batch asks for 50 labels and the label budget has 3 left")
    made = rung(ALARM, broke)
    assert (made.step, made.asks_for_labels) == (Step.ALERT, False)
    assert "the label budget has 3 left" in made.why[0]
    assert any(line.startswith("label: a batch asks for 50") for line in made.why_not)
    assert rung(ALARM).asks_for_labels
    assert rung(CALM, broke).step == Step.NONE


def test_a_drift_that_is_known_and_being_answered_does_not_ask_again() -> None:
    for standing in (ASKED, ANSWERED, replace(ASKED, hours_since_labels=30.0)):
        made = rung(ALARM, standing)
        assert (made.step, made.asks_for_labels, made.ends) == (Step.LABEL, False, False)
    assert "round-0004 answers it, 50 of 50 answered" in str(rung(ALARM, ANSWERED).why)


def test_labels_asked_for_by_an_incident_that_ended_hold_for_the_cool_down() -> None:
    made = rung(ALARM, Standing(hours_since_labels=1.0))
    assert not made.asks_for_labels
    assert any("the cool-down is over, 24 h" in line for line in made.why_not)
    assert not any("the drift is known" in line for line in (*made.why, *made.why_not))


def test_a_drift_that_goes_on_after_its_answers_were_learnt_asks_again_and_alerts() -> None:
    late = replace(RETRAINED, hours_since_release=24.0)
    made = rung(ALARM, late)
    assert (made.step, made.asks_for_labels) == (Step.ALERT, True)
    assert "24 h after a model learnt from its answers" in made.why[0]
    assert rung(ALARM, RETRAINED).step == Step.LABEL


def test_people_hear_of_labels_that_nobody_gives() -> None:
    waited = replace(ASKED, hours_since_labels=PATIENCE * 24.0)
    assert rung(ALARM, waited).step == Step.ALERT
    assert rung(ALARM, replace(waited, hours_since_labels=71.9)).step == Step.LABEL
    assert rung(ALARM, replace(waited, asked=5, answered=5)).step == Step.LABEL


def test_people_hear_of_answers_that_no_model_in_service_learnt() -> None:
    # A challenger that lost its verdict leaves no snapshot to train on and nothing to ask for.
    waited = replace(ANSWERED, step=Step.RETRAIN, hours_since_labels=2 * PATIENCE * 24.0)
    made = rung(ALARM, waited)
    assert made.step == Step.ALERT
    assert "no model in service has learnt from them" in made.why[0]
    assert rung(ALARM, replace(waited, hours_since_labels=143.9)).step == Step.RETRAIN
    assert rung(ALARM, replace(waited, retrained=True)).step != Step.ALERT


def test_a_fault_of_the_source_alerts_and_asks_for_no_labels() -> None:
    made = rung(FAULT)
    assert (made.step, made.asks_for_labels) == (Step.ALERT, False)


def test_an_alert_is_out_once() -> None:
    again = rung(FAULT, Standing(step=Step.ALERT))
    assert again.step == Step.ALERT
    assert any("people know" in line for line in again.why_not)


def test_a_training_that_is_due_is_the_step_after_labels() -> None:
    made = rung(ALARM, ANSWERED, retrain=(True, "drift"))
    assert (made.step, made.retrains) == (Step.RETRAIN, True)
    assert rung(CALM, retrain=(True, "the model is 40 days old")).step == Step.RETRAIN


def test_the_service_halts_only_on_evidence_of_poor_accuracy() -> None:
    assert rung(POOR, NONE, HALTING).step == Step.HALT
    assert rung(POOR).step == Step.LABEL  # the policy is never
    assert rung(ALARM, NONE, HALTING).step == Step.LABEL  # nothing was measured
    assert rung(replace(POOR, accuracy_high=0.5), NONE, HALTING).step == Step.LABEL
    assert rung(POOR, replace(NONE, halted=True), HALTING).step == Step.LABEL


def test_a_service_that_a_person_resumed_is_not_halted_within_the_cool_down() -> None:
    resumed = replace(ASKED, hours_since_resume=23.0)
    assert rung(POOR, resumed, HALTING).step == Step.LABEL
    assert rung(POOR, replace(resumed, hours_since_resume=24.0), HALTING).step == Step.HALT


def test_an_incident_ends_after_calm_checks_in_a_row() -> None:
    standing = ASKED
    for number in range(1, CALM_CHECKS):
        made = rung(CALM, standing)
        assert (made.step, made.ends, made.calm_checks) == (Step.LABEL, False, number)
        standing = replace(standing, calm_checks=made.calm_checks)
    made = rung(CALM, standing)
    assert (made.step, made.ends) == (Step.NONE, True)


@pytest.mark.parametrize("evidence", [NOTED, ALARM, replace(CALM, declined=True)])
def test_evidence_below_the_alarm_sets_the_calm_checks_back(evidence: Evidence) -> None:
    assert rung(evidence, replace(ASKED, calm_checks=2)).calm_checks == 0


def test_a_check_that_cannot_tell_neither_calms_nor_alarms() -> None:
    made = rung(BLIND, replace(ASKED, calm_checks=CALM_CHECKS - 1))
    assert (made.step, made.ends, made.calm_checks) == (Step.LABEL, False, CALM_CHECKS - 1)
    assert rung(BLIND).step == Step.NONE


def test_what_rose_slowly_needs_as_many_calm_checks_to_end() -> None:
    assert calm_needed(replace(ASKED, rise_checks=20)) == 20
    assert calm_needed(replace(ASKED, rise_checks=1)) == CALM_CHECKS
    assert calm_needed(replace(ASKED, rise_checks=999)) == CALM_CHECKS_AT_MOST


def test_one_calm_check_of_a_model_that_learnt_the_answers_ends_the_incident() -> None:
    assert rung(CALM, RETRAINED).ends
    assert not rung(NOTED, RETRAINED).ends


def test_an_incident_stays_open_while_the_service_is_halted() -> None:
    halted = replace(RETRAINED, step=Step.HALT, halted=True)
    assert (rung(CALM, halted).step, rung(CALM, halted).ends) == (Step.HALT, False)


def test_whatever_is_measured_no_incident_steps_down_but_by_ending() -> None:
    trainings = (NO_TRAINING, (True, "due"))
    evidences = (CALM, NOTED, ALARM, BLIND, FAULT, POOR)
    standings = (NONE, ASKED, ANSWERED, RETRAINED, replace(RETRAINED, step=Step.ALERT))
    for evidence, standing, rules, training in product(
        evidences, standings, (LadderRules(), HALTING), trainings
    ):
        made = rung(evidence, standing, rules, training)
        assert made.why
        assert len(made.why_not) <= 5
        if standing.is_open:
            assert made.ends or made.step.rank >= standing.step.rank
        assert not (made.ends and (made.asks_for_labels or evidence.alarm))
        if made.asks_for_labels:
            assert evidence.alarm
        if made.step == Step.HALT:
            assert rules.halt != "never" and evidence.accuracy_high is not None
