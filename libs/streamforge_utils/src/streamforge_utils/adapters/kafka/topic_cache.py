"""The topics that a bus has met, so that not every call asks the brokers for them."""

from __future__ import annotations

from functools import partial

from streamforge_utils.adapters.kafka.admin import Admin
from streamforge_utils.adapters.kafka.topic_config import Topic
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.model.errors import PermanentError

_KEPT = 1000


class TopicCache:
    """Finds topics, and remembers them until somebody says that one is gone."""

    def __init__(self, admin: Admin, lane: Lane) -> None:
        self._admin = admin
        self._lane = lane
        self._known: dict[str, Topic] = {}

    async def find(self, name: str, needs: str = "describe") -> Topic:
        """The topic as it is remembered, else as the brokers know it. Raises PermanentError if there is none such."""
        known = self._known.get(name)
        return await self._lane.run(partial(self.check, name, needs)) if known is None else known

    def check(self, name: str, needs: str = "describe") -> Topic:
        """The topic as the brokers know it now. Blocks; any thread. Raises PermanentError if there is none such."""
        try:
            found = self._admin.find(name, needs)
        except PermanentError:
            self.forget(name)
            raise
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[name] = found
        return found

    def forget(self, name: str) -> None:
        """Ask the brokers the next time."""
        self._known.pop(name, None)
