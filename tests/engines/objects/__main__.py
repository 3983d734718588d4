"""`python -m tests.engines.objects --fetch` builds the S3 server of the tests, unless it has been built."""

from __future__ import annotations

import sys

from tests.engines.objects.gateway import build
from tests.engines.process import EngineError


def main() -> int:
    """0: it is there."""
    try:
        print(f"objects: {build()} is there", file=sys.stderr)
    except EngineError as error:
        print(f"objects: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
