"""Which of the offered media types a client would rather have, by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """The offer with the greatest weight; the first of equals; the first one where none is acceptable.

    offers: media types without parameters.
    """
    if not accept:
        return offers[0]
    wanted = [_range(part) for part in accept.split(",")[:50]]
    best, best_weight = offers[0], 0.0
    for offer in offers:
        matches = [(specificity, weight) for kind, weight in wanted if (specificity := _match(kind, offer)) > 0]
        weight = max(matches)[1] if matches else 0.0
        if weight > best_weight:
            best, best_weight = offer, weight
    return best


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
            weight = weight if 0.0 <= weight <= 1.0 else 0.0
    return kind, weight


def _match(kind: str, offer: str) -> int:
    if kind == offer:
        return 3
    if kind == f"{offer.partition('/')[0]}/*":
        return 2
    return 1 if kind == "*/*" else 0
