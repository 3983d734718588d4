"""Every fault of order books, on the secured broker."""

import pytest

from tests.e2e.takeover import with_parameters as is_sampled  # noqa: F401 - its name tells what for
from tests.e2e.test_book_fault_matrix import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_book_fault_matrix import Case


def is_quick(item: pytest.Function) -> bool:
    """One that loses some of the book and leaves doubts about the rest."""
    case = item.callspec.params["case"]
    assert isinstance(case, Case)
    return case.fault.startswith("depth-quantity:after=20,kind=negative")
