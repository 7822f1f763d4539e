from labeling.ledger.reasons import ASKED_FOR_ITSELF, RANDOM_REASONS, RELABEL_REASONS, Reason
from labeling.strategies import STRATEGIES


def test_a_reason_is_stored_as_its_word_and_is_no_strategy_but_random() -> None:
    assert Reason.AUDIT == "audit"
    assert {str(reason) for reason in Reason} & STRATEGIES.keys() == {"random"}


def test_gold_is_asked_for_itself_and_looks_like_a_random_draw() -> None:
    assert Reason.GOLD in ASKED_FOR_ITSELF
    assert Reason.GOLD in RANDOM_REASONS
    assert set(RELABEL_REASONS) < set(ASKED_FOR_ITSELF)
