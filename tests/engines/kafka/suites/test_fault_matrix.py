"""Every fault of REST and of the archive, as whole workflows, on the secured broker."""

from tests.e2e.takeover import with_parameters as is_sampled  # noqa: F401 - its name tells what for
from tests.e2e.test_fault_matrix import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()
"""None: `test_two_sources` loads files and fails over to requests here."""
