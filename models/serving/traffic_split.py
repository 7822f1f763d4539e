"""Which requests a canary answers: a share of the clients, always the same ones.

A key falls on a place from 0 to 100 that depends on the canary's version, too, so that no client
gets every canary. The canary answers the places below its share: a larger share keeps the clients
that a smaller one had.
"""

import hashlib
from collections.abc import Sequence

SAMPLED = 4_096  # bytes from each end of an image that its place depends on

WHOLE = 100.0  # percent


def place_of(key: str, version: str) -> float:
    """The place of a key, from 0 to below 100, when `version` is the canary."""
    digest = hashlib.blake2b(f"{version}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * WHOLE


def is_canarys(key: str, version: str, share: float) -> bool:
    """Whether the canary `version` answers the client of this key at a share in percent."""
    return place_of(key, version) < share


def request_key(images: Sequence[bytes]) -> str:
    """The key of a request whose client names none: the same for the same images.

    Of each image the length and both ends count, so that it takes no time for large ones.
    """
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(len(image).to_bytes(8))
        digest.update(image[:SAMPLED])
        digest.update(image[-SAMPLED:])
    return digest.hexdigest()
