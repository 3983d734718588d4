"""A queue-manager of a version that is newer than that of its workers."""

from __future__ import annotations

from streamforge.manager import __main__, running_manager

if __name__ == "__main__":
    running_manager.installed_version = lambda: "999.0.0"  # type: ignore[attr-defined, assignment]
    raise SystemExit(__main__.main())
