"""How wary a node is of new releases: 0 takes everything at once, 1 waits for all others.

The reference is written in Rust: an explicit value is read as its `f64` does, and
a node without one gets the hash that Rust's default hasher makes of its id.
"""

from __future__ import annotations

import math
import re

LEAST = 1e-6  # of a wariness that was not chosen: only those who ask for 0 go first
_F64 = re.compile(
    r"[+-]?(?:inf|infinity|nan|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)",
    re.IGNORECASE | re.ASCII,
)
_MASK = (1 << 64) - 1


def of(rollout_wariness: str | None, node_uuid: str | None) -> float:
    """A node's wariness by what it sends; text that is no number counts as not sent."""
    chosen = number(rollout_wariness) if rollout_wariness is not None else None
    if chosen is None:
        return of_node(node_uuid or "")
    return 0.0 if math.isnan(chosen) else min(max(chosen, 0.0), 1.0)


def number(text: str) -> float | None:
    """The number a text says, as Rust reads it: no spaces, no underscores, `inf` and `nan` are."""
    return float(text) if _F64.fullmatch(text) else None


def of_node(node_uuid: str) -> float:
    """The wariness a node has by its id. The version plays no part: the same go first always."""
    share = siphash13(node_uuid.encode("utf-8", "surrogatepass") + b"\xff") / 2.0**64
    return min(max(share, LEAST), 1.0)


def siphash13(data: bytes) -> int:
    """SipHash with one round per word and three at the end, under the key zero (64 bits)."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        state[3] ^= word
        _round(state)
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(3):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(state: list[int]) -> None:
    a, b, c, d = state
    a = (a + b) & _MASK
    b = _left(b, 13) ^ a
    a = _left(a, 32)
    c = (c + d) & _MASK
    d = _left(d, 16) ^ c
    a = (a + d) & _MASK
    d = _left(d, 21) ^ a
    c = (c + b) & _MASK
    b = _left(b, 17) ^ c
    c = _left(c, 32)
    state[:] = a, b, c, d


def _left(word: int, count: int) -> int:
    return (word << count | word >> (64 - count)) & _MASK
