"""A series as a small picture in the terminal: a line of braille dots, with its high and low."""

from __future__ import annotations

from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character: four rows of two dots."""
_BLANK = 0x2800


def picture(values: Sequence[float], *, width: int = 60, height: int = 8, plain: bool = False) -> list[str]:
    """Lines of `width` characters that draw `values` from left to right; `plain` uses ASCII only.

    A column shows the range of the values that fall into it, so that no peak is lost.
    """
    if not values:
        return []
    low, high = min(values), max(values)
    columns, rows = (width, height) if plain else (width * 2, height * 4)
    dots = [[False] * columns for _ in range(rows)]
    scale = (rows - 1) / (high - low) if high > low else 0.0
    previous: int | None = None
    for column in range(columns):
        first = column * len(values) // columns
        after = max(first + 1, (column + 1) * len(values) // columns)
        part = values[first:after]
        bottom, top = round((min(part) - low) * scale), round((max(part) - low) * scale)
        if previous is not None:  # joined to the column before
            bottom, top = min(bottom, previous), max(top, previous)
        previous = round((part[-1] - low) * scale)
        for row in range(bottom, top + 1):
            dots[rows - 1 - row][column] = True
    if plain:
        return ["".join("*" if dot else " " for dot in row).rstrip() for row in dots]
    lines = []
    for top in range(0, rows, 4):
        codes = [_BLANK] * width
        for dy, bits in enumerate(_DOTS):
            for column, dot in enumerate(dots[top + dy]):
                if dot:
                    codes[column // 2] |= bits[column % 2]
        lines.append("".join(map(chr, codes)).rstrip(chr(_BLANK)))
    return lines


def chart(values: Sequence[float], *, left: str, right: str, width: int = 60, plain: bool = False) -> list[str]:
    """The picture with its highest and lowest value beside it, and what stands at its two ends below."""
    lines = picture(values, width=width, plain=plain)
    if not lines:
        return []
    high, low = f"{max(values):,.2f}", f"{min(values):,.2f}"
    margin = max(len(high), len(low))
    labels = [high, *[""] * (len(lines) - 2), low] if len(lines) > 1 else [high]
    drawn = [f"{label:>{margin}}  {line}".rstrip() for label, line in zip(labels, lines, strict=True)]
    return [*drawn, " " * (margin + 2) + left + " " * max(1, width - len(left) - len(right)) + right]
