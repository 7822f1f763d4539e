from tasks.demo.duel_cost import DuelCost, audit_rows_alike

PLAN = {"alpha": 0.0304, "strata": [{"scored": 1000, "disagreements": 90}]}


def test_an_audit_that_shows_as_much_is_several_times_as_large() -> None:
    rows = audit_rows_alike(23, 2, 25, PLAN)
    assert rows is not None
    assert 60 < rows < 100  # with 7 decisive rows and fewer nothing is shown if one is lost
    few = audit_rows_alike(61, 39, 100, PLAN)  # a gain of 2 points
    assert few is not None
    assert 600 < few < 1200


def test_no_audit_shows_a_gain_that_is_none() -> None:
    assert audit_rows_alike(5, 5, 10, PLAN) is None
    assert audit_rows_alike(0, 0, 10, PLAN) is None


def test_the_cost_in_words() -> None:
    text = DuelCost("PROMOTE", 25, 180).sentence()
    assert text == (
        "duel: PROMOTE after 25 answers; a random audit would have needed about 180 labels"
    )
    assert DuelCost("REJECT", 25, None).sentence() == "duel: REJECT after 25 answers"
