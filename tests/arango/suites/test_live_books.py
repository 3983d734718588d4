"""Order books as whole workflows, on ArangoDB."""

import pytest

from tests.e2e.test_live_books import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """A command without a manager knows no other store than the folder's; a batch is no question to the store."""
    return item.originalname not in (
        "test_load_records_a_book_until_ctrl_c",
        "test_a_batch_of_books_is_live_and_stopped_together",
    )
