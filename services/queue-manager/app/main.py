"""Runs queue-manager: `python3.11 -m app.main`; its settings are the environment's."""

from __future__ import annotations

from streamforge.manager.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
