"""Which part of a data set a clip belongs to, train, val or test, where the data set itself does not say; samples."""

import hashlib
import re
from collections.abc import Sequence

PARTS = ("train", "val", "test")
SHARES = (80.0, 10.0, 10.0)  # of PARTS
CLIP_OF_A_VIDEO = re.compile(r"(.{11})_\d+_\d+")  # VGGSound's names: YouTube id, start and end in ms


def place_of(clip_id: str) -> float:
    """A number in [0, 1) that depends on a clip's id alone, evenly spread over ids.

    Clips cut from one video and named as in VGGSound, `<YouTube id>_<start ms>_<end ms>` in any folder, share the
    video's number: in different parts, one would give the other away.
    """
    name = clip_id.rpartition("/")[2]
    video = CLIP_OF_A_VIDEO.fullmatch(name)
    digest = hashlib.sha256((video[1] if video else clip_id).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def part_of(clip_id: str, shares: tuple[float, float, float] = SHARES) -> str:
    """The part of a clip by its id: the same id is always in the same part, whatever else the data set holds.

    `shares` of train, val and test may be in any unit.
    """
    train, val, test = (share / sum(shares) for share in shares)
    place = place_of(clip_id)
    return "train" if place < train else "val" if place < train + val or not test else "test"


def sample(ids: Sequence[str], number: int, seed: int = 0) -> list[int]:
    """Places of at most `number` ids, drawn at random by a hash of seed and id: whatever order the ids come in.

    A smaller sample is the beginning of a larger one.
    """
    digests = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in ids]
    return sorted(range(len(ids)), key=digests.__getitem__)[:number]


def check_shares(shares: tuple[float, ...]) -> tuple[float, float, float]:
    """The shares, if they are three of 0 or more that leave something to train on; ValueError if not."""
    if len(shares) != len(PARTS) or any(not 0 <= share < float("inf") for share in shares) or not shares[0]:
        raise ValueError(f"splits are {' '.join(f'{share:g}' for share in shares)}: give three shares for train, val "
                         "and test, 0 or more each and some for train, such as 80 10 10")
    return tuple(shares)
