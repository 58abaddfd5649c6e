"""Damage for JSON: numbers, words and structure."""

import json
from random import Random
from typing import Any

from fuzzing.mutate import NUMBERS, scrambled, wrong

WORDS = ("", "..", "/etc/passwd", "\0", "a" * 300, "é\u202e", "F64", "F4", "U8", "I64", "BF16", "F8_E4M3", "nearest")
WORDS += ("sinc", "bspline-9", "cubic", "subpixel", "resize", "transposed", "regular-2", "snake", "v1", "1", "-1")
VALUES = (None, True, False, [], {}, 0.5, -0.0, 1e308, float("nan"), float("inf"), [[]], [0], [1] * 1000, {"": {}})
DEEP = 20_000


def damaged(content: Any, random: Random, edits: int = 3) -> Any:
    """Return a copy of a JSON value with a few values replaced, added or left out."""
    for _ in range(random.randint(1, edits)):
        content = json.loads(json.dumps(content))  # so that nothing in it is there twice, or holds itself
        places = list(_places(content))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        kind = random.random()
        if kind < 0.75:
            holder[key] = _other(holder[key], random)
        elif kind < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[random.choice((*WORDS, str(key), f"{key}.weight"))] = holder[key]
        else:
            holder.insert(key, holder[key])
    return json.loads(json.dumps(content))


def text(content: Any, random: Random) -> bytes:
    """Write a JSON value down, sometimes not quite."""
    kind = random.random()
    if kind < 0.02:
        return b"[" * DEEP + b"]" * DEEP
    written = json.dumps(content).encode()
    return scrambled(written, random) if kind < 0.15 else written


def _places(content: Any) -> Any:
    stack = [content]
    while stack:
        one = stack.pop()
        for key in list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ():
            yield one, key
            if len(stack) < 100:
                stack.append(one[key])


def _other(was: Any, random: Random) -> Any:
    if random.random() < 0.1:
        return random.choice(VALUES)
    if isinstance(was, bool) or was is None:
        return random.choice((True, False, None, 0, 1, "true"))
    if isinstance(was, int):
        return wrong(was, random)
    if isinstance(was, float):
        return random.choice((-was, was * 1e6, 0.0, 1e-300, 1e300, float("nan"), random.choice(NUMBERS)))
    if isinstance(was, str):
        return random.choice((*WORDS, was + was, was[:-1], was.upper()))
    if isinstance(was, list):
        return random.choice((was + was, was[:-1], was[::-1], [was], was * 100 if len(was) < 100 else was))
    return random.choice(VALUES)
