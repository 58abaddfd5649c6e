"""Damage for any file: bits, numbers, pieces."""

from random import Random

# What counts, lengths and offsets are likely to be wrong at.
NUMBERS = (0, 1, 2, 3, 7, 16, 255, 256, 1024, 32767, 32768, 65535, 65536, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**31)
NUMBERS += (2**32 - 1, 2**32, 2**33, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
LONGEST = 2**16  # bytes of an input
MOST_EDITS = 6


def scrambled(data: bytes, random: Random, other: bytes = b"", kept: int = 0, near: int = 512) -> bytes:
    """Return ``data`` after a few edits.

    Args:
        data: What to damage.
        random: Decides.
        other: Something of the same kind, to splice in.
        kept: Bytes at the start that stay.
        near: Half of the edits lie within so many bytes after those: that is where lengths are.
    """
    out = bytearray(data)
    for _ in range(random.randint(1, MOST_EDITS)):
        if len(out) <= kept:
            break
        end = min(len(out), kept + near) if random.random() < 0.5 else len(out)
        _edit(out, random.randrange(kept, end), random, other)
    return bytes(out[:LONGEST])


def _edit(out: bytearray, at: int, random: Random, other: bytes) -> None:
    kind = random.randrange(10)
    length = min(len(out) - at, random.choice((1, 2, 4, 8, 16, 64, 256)))
    if kind <= 1:
        out[at] ^= 1 << random.randrange(8)
    elif kind == 2:
        out[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    elif kind <= 5:
        number(out, at, random)
    elif kind == 6:
        out[at : at + length] = random.randbytes(length)
    elif kind == 7:
        del out[at : at + length if random.random() < 0.8 else len(out)]
    elif kind == 8:
        out[at:at] = bytes(out[at : at + length]) * random.choice((1, 1, 1, 8))
    elif other:
        start = random.randrange(len(other))
        piece = other[start : start + random.choice((4, 16, 64, 1024))]
        out[at : at + random.choice((0, len(piece)))] = piece


def number(out: bytearray, at: int, random: Random) -> None:
    """Write a number that may be wrong over the one at a place."""
    size = random.choice((1, 2, 4, 4, 8))
    order = random.choice(("little", "big"))
    if at + size > len(out):
        return
    was = int.from_bytes(out[at : at + size], order)
    value = random.choice(NUMBERS) if random.random() < 0.6 else was + random.randint(-16, 16)
    out[at : at + size] = (value % 256**size).to_bytes(size, order)


def wrong(was: int, random: Random) -> int:
    """Return an integer that may be wrong in the place of ``was``."""
    kind = random.random()
    if kind < 0.5:
        return random.choice((-1, 1)) * random.choice(NUMBERS)
    return was + random.randint(-3, 3) if kind < 0.8 else was * random.choice((2, 3, 16, 1024, -1))
