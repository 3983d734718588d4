"""The collections that the manager keeps beside the records."""

from __future__ import annotations

from streamforge.manager.engine.persistence import event_history
from streamforge.manager.persistence import attempt_logs, rollups

OWN_COLLECTIONS = frozenset({attempt_logs.COLLECTION, event_history.COLLECTION, rollups.COLLECTION})
