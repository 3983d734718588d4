"""Pages of what is published of an order book: made, joined and cut."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.books.records import DIFF, kind_name_of
from streamforge_utils.model.books.succession import id_of
from streamforge_utils.model.kinds.paging import Page


def page_of(last_id: int, time_ms: int, messages: Sequence[tuple[bytes, bytes]]) -> Page:
    """Messages, keys and values, up to an id and a time."""
    count = len(messages)
    return Page([last_id] * count, [time_ms] * count, [key for key, _ in messages], [value for _, value in messages])


def joined(pages: Sequence[Page]) -> Page:
    return Page(
        positions=[one for page in pages for one in page.positions],
        times=[one for page in pages for one in page.times],
        keys=[one for page in pages for one in page.keys],
        values=[one for page in pages for one in page.values],
    )


def behind(page: Page, last_id: int) -> Page:
    """What of a page follows a diff; a book follows the diff that it is the book after."""
    first = (n for n, key in enumerate(page.keys) if kind_name_of(key) == DIFF and id_of(key) > last_id)
    at = next(first, len(page))
    return Page(page.positions[at:], page.times[at:], page.keys[at:], page.values[at:])
