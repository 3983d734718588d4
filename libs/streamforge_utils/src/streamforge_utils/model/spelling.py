"""Which of the known words somebody probably meant who wrote another one."""

from __future__ import annotations

from collections.abc import Sequence

_ALIKE = 0.65
_BEGINS = 0.9
"""A word that begins as the other does counts as at least so much like it: BTC is the beginning of BTCUSDT."""
_LENGTH = 80
_KNOWN = 20_000
"""Of so many words at most the nearest one is looked for: some 0.2 s of work."""


def closest(word: str, known: Sequence[str], *, count: int = 1) -> list[str]:
    """The words of `known` that are most like `word`, best first; of equals the one that stands first.

    Case does not matter. At most `count`.
    """
    from difflib import SequenceMatcher, get_close_matches

    lower = word[:_LENGTH].lower()
    by_lower: dict[str, list[int]] = {}
    for index, one in enumerate(known[:_KNOWN]):
        by_lower.setdefault(one.lower(), []).append(index)
    near = set(get_close_matches(lower, by_lower, n=20, cutoff=_ALIKE))
    begins = {one for one in by_lower if len(lower) > 1 and one.startswith(lower)}

    def likeness(index: int) -> tuple[float, int]:
        one = known[index].lower()
        ratio = SequenceMatcher(None, lower, one).ratio()
        return -max(ratio, _BEGINS if one in begins else 0.0), index

    ranked = sorted((index for one in near | begins for index in by_lower[one]), key=likeness)
    return [known[index] for index in ranked[:count]]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`: did you mean X?`, or nothing where no known word is like `word`."""
    found = closest(word, known)
    return f": did you mean {found[0]}?" if found else ""
