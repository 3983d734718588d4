"""`python -m streamforge.cli` is `streamforge`."""

from __future__ import annotations

import sys

from streamforge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
