"""The books of many symbols on the same connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamforge_utils.model.books.book_messages import DepthDiff, read_message
from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.errors import PermanentError


class Basket:
    """Hands each message to the book of its symbol; of one book alone also those that cannot be read."""

    def __init__(self, books: Iterable[Synchroniser]) -> None:
        self.books: Mapping[str, Synchroniser] = {book.symbol: book for book in books}
        self._only = next(iter(self.books.values())) if len(self.books) == 1 else None

    def hear(self, payloads: Sequence[bytes], received_us: int, connection: int) -> list[tuple[bytes, str]]:
        """Hear messages of the combined form, in their order.

        Returns those that are none of these books', each with the reason; empty: it is about something else.
        """
        books, left = self.books, list[tuple[bytes, str]]()
        for payload in payloads:
            try:
                message = read_message(payload)
            except PermanentError as error:
                if self._only is None:
                    left.append((payload, str(error)))
                else:
                    self._only.refuse(payload, str(error))
                continue
            book = None if message is None else books.get(message.symbol)
            if book is None:
                left.append((payload, ""))
            elif type(message) is DepthDiff:
                book.hear(message, payload, received_us, connection)
            else:
                book.hear_ticker(message)  # type: ignore[arg-type]
        return left
