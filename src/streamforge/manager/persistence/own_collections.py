"""The collections that the manager keeps beside the records."""

from __future__ import annotations

from streamforge.manager.bars import store as rollups
from streamforge.manager.engine.persistence import event_history
from streamforge.manager.logs import store as attempt_logs

OWN_COLLECTIONS = frozenset({attempt_logs.COLLECTION, event_history.COLLECTION, rollups.COLLECTION})
