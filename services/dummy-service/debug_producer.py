"""Sends a command to the workers of a queue and checks what they answer: `debug_producer.py --help` tells more."""

from __future__ import annotations

from streamforge.cli.debug_producer import main

if __name__ == "__main__":
    raise SystemExit(main())
