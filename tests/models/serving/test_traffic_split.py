"""A canary's clients are a share of all, the same ones each time, and a larger share keeps them."""

from itertools import pairwise

import pytest

from models.serving.traffic_split import is_canarys, place_of, request_key

KEYS = [f"client-{number}" for number in range(20_000)]
CANARY = "hone:0002-b"
PLACE_OF_ANN = 13.314192812323608


def clients(share: float, version: str = CANARY) -> set[str]:
    return {key for key in KEYS if is_canarys(key, version, share)}


@pytest.mark.parametrize("share", [1, 5, 10, 50])
def test_the_share_is_right_within_the_noise_of_so_many_clients(share: float) -> None:
    expected = len(KEYS) * share / 100
    noise = (expected * (1 - share / 100)) ** 0.5
    assert abs(len(clients(share)) - expected) < 4 * noise


def test_a_larger_share_keeps_the_clients_of_a_smaller_one() -> None:
    shares = [clients(share) for share in (1, 2, 10, 25, 50)]
    assert all(less < more for less, more in pairwise(shares))


def test_another_canary_has_other_clients() -> None:
    both = clients(10) & clients(10, "hone:0003-c")
    assert len(both) == pytest.approx(len(KEYS) * 0.01, rel=0.3)


def test_places_do_not_depend_on_the_process() -> None:
    assert place_of("ann", CANARY) == pytest.approx(PLACE_OF_ANN)
    assert min(place_of(key, CANARY) for key in KEYS) >= 0
    assert max(place_of(key, CANARY) for key in KEYS) < 100


def test_the_same_images_have_the_same_key_and_others_another() -> None:
    photo, other = b"x" * 10_000, b"x" * 9_999 + b"y"
    assert request_key([photo]) == request_key([photo])
    keys = [request_key(images) for images in ([photo], [other], [photo, other], [photo[1:]])]
    assert len(set(keys)) == 4
