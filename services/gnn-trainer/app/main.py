"""Runs the worker gnn-trainer: `python3.11 -m app.main [--debug]`; its settings are the environment's."""

from __future__ import annotations

import sys

from streamforge.workers.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(["gnn-trainer", *sys.argv[1:]]))
