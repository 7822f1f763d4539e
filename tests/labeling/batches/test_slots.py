import numpy as np

from labeling.batches.slots import BatchBuilder, GroupLimit, Pick


def places_of(*kinds: int, size: int = 4, most: int = 1) -> BatchBuilder:
    array = np.array(kinds)
    return BatchBuilder(size, np.ones(len(array), dtype=bool), {"groups": GroupLimit(array, most)})


def test_a_row_that_is_taken_is_free_no_more_and_closes_its_kind_when_that_is_full() -> None:
    places = places_of(0, 0, 1, 0, most=2)
    places.take(Pick(0, "margin"))
    assert places.free.tolist() == [False, True, True, True]
    places.take(Pick(3, "margin"))
    assert places.free.tolist() == [False, False, True, False]
    assert places.left == 2
    assert places.rows == [0, 3]


def test_a_cap_that_is_given_up_frees_all_but_the_taken() -> None:
    places = places_of(0, 0, 0, 1)
    places.take(Pick(0, "margin"))
    places.drop("groups")
    assert places.free.tolist() == [False, True, True, True]


def test_giving_up_one_cap_keeps_the_others() -> None:
    places = places_of(0, 1, 2, 3)
    places.limits["sources"] = GroupLimit(np.array([0, 0, 1, 1]), 1)
    places.take(Pick(0, "margin"))
    places.drop("groups")
    assert places.free.tolist() == [False, False, True, True]


def test_groups_that_are_full_from_the_start_open_when_their_limit_ends() -> None:
    places = places_of(0, 0, 1, 2)
    places.fill_groups("groups", np.array([True, False, False, False]))
    assert places.free.tolist() == [False, False, True, True]
    places.drop("groups")
    assert places.free.all()
