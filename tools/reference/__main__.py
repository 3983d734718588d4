"""Writes the generated reference: `python -m tools.reference [--check]`."""

from __future__ import annotations

import sys

from tools.reference.reference_pages import main

sys.exit(main())
