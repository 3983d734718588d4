"""What ended workflows have left in a data directory: their topics, and the room that these take."""

from __future__ import annotations

from pathlib import Path

from streamforge.cli import terminal


async def leftovers(folder: Path) -> str:
    """Which topics of ended workflows are still there, in a sentence; empty where there are none.

    Of the embedded bus and store in the folder. Raises StreamForgeError.
    """
    from streamforge import wiring
    from streamforge.manager.persistence.workflow_store import WorkflowStore
    from streamforge_utils.model import names
    from streamforge_utils.runtime.settings import DataSettings

    settings = DataSettings(data_dir=folder)
    if not (folder / wiring.BUS).is_dir() or not (folder / wiring.STORE).is_dir():
        return ""
    sizes, store = wiring.topic_sizes(settings), wiring.make_store(settings)
    count, size, after = 0, 0, None
    try:
        workflows = WorkflowStore(store)
        while page := await workflows.find(where={"topics": ["data", "dlq"]}, after=after, limit=500):
            for one in page:
                taken = sum(sizes.get(topic, 0) for topic in (one.topic, names.dlq_topic(one.topic)))
                count, size = count + bool(taken), size + taken
            after = page[-1].queue_id
    finally:
        await store.close()
    if not count:
        return ""
    return (
        f"topics of {terminal.many(count, 'ended workflow')} take {size / 1e6:,.1f} MB; they are kept for a while "
        "(STREAMFORGE_TOPIC_RETENTION_SECONDS), and the first command after it removes them"
    )
