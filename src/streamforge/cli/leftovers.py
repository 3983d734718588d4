"""What ended workflows have left in a data directory: their topics, and the room that these take."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """Topics of ended workflows that are still there. bytes: of their files."""

    workflows: int = 0
    bytes: int = 0

    @property
    def told(self) -> str:
        """In a sentence; empty where there are none."""
        if not self.workflows:
            return ""
        many = f"{self.workflows} ended workflow{'' if self.workflows == 1 else 's'}"
        return (
            f"topics of {many} take {self.bytes / 1e6:,.1f} MB; they are kept for a while "
            "(STREAMFORGE_TOPIC_RETENTION_SECONDS), and the first command after it removes them"
        )


async def leftovers(folder: Path) -> Leftovers:
    """Of the embedded bus and store in the folder; nothing where one of them is not there. Raises StreamForgeError."""
    from streamforge import wiring
    from streamforge.manager.persistence.workflow_store import WorkflowStore
    from streamforge_utils.model import names
    from streamforge_utils.runtime.settings import DataSettings

    settings = DataSettings(data_dir=folder)
    if not (folder / wiring.BUS).is_dir() or not (folder / wiring.STORE).is_dir():
        return Leftovers()
    sizes = wiring.topic_sizes(settings)
    store = wiring.make_store(settings)
    found = Leftovers()
    try:
        workflows, after = WorkflowStore(store), None
        while page := await workflows.find(where={"topics": ["data", "dlq"]}, after=after, limit=500):
            for one in page:
                taken = sum(sizes.get(topic, 0) for topic in (one.topic, names.dlq_topic(one.topic)))
                found = Leftovers(workflows=found.workflows + bool(taken), bytes=found.bytes + taken)
            after = page[-1].queue_id
    finally:
        await store.close()
    return found
