"""Runs the worker dummy-service: `python3.11 -m app.main [OPTIONS]`; its settings are the environment's."""

from __future__ import annotations

import sys

from streamforge.workers.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(["dummy-service", *sys.argv[1:]]))
