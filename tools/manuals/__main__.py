"""`make manuals-check`: names what a page of the manuals says and the repository does not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tools.manuals import naming, navigation, programs
from tools.manuals.reading import Finding, read
from tools.manuals.repository import Repository

ROOT = Path(__file__).resolve().parents[2]


def findings(repository: Repository) -> Iterator[Finding]:
    """Everything that is wrong, page by page."""
    pages = {path: read(repository.root, path) for path in repository.pages}
    yield from navigation.check(repository, pages)
    for page in pages.values():
        yield from naming.check(repository, page, programs.ports(page))
        yield from programs.check(repository, page)


def main() -> int:
    """Returns the exit code: 1 if something was found."""
    repository = Repository(ROOT)
    found = list(findings(repository))
    for finding in sorted(found, key=lambda finding: (finding.page, finding.line)):
        print(f"manuals: {finding}", file=sys.stderr)
    if not found:
        print(f"manuals: {len(repository.pages)} pages name nothing that is not there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
