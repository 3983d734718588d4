"""A data set in a store of objects: each file is made on this machine, then put, whole."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.datasets.dataset_places import Folder, Place, cannot
from streamforge.cli.temporary_folder import temporary_folder
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.ports.object_store import ObjectStore

_VARIABLE = "STREAMFORGE_OBJECTS_URL"


def place_of(output: str) -> Place:
    """The place that `--output` names: a folder, or `s3://BUCKET[/PREFIX]`. Raises UsageProblem."""
    if "://" not in output:
        return Folder(Path(output))
    from streamforge import wiring
    from streamforge_utils.runtime.life.environment import load
    from streamforge_utils.runtime.life.object_settings import ObjectSettings
    from streamforge_utils.runtime.life.settings import DataSettings

    try:
        settings = load(ObjectSettings, {**os.environ, _VARIABLE: output})
    except ConfigError as error:
        raise UsageProblem(str(error).replace(_VARIABLE, "--output")) from error
    if not settings.in_bucket:
        return Folder(Path(settings.url))
    return ObjectPlace(wiring.make_object_store(settings, DataSettings()), output.rstrip("/"))


class ObjectPlace(Place):
    """Objects under one address. Of exports that write one partition at once the last one counts."""

    def __init__(self, store: ObjectStore, shown: str) -> None:
        """shown: the address, for messages."""
        self._store, self._shown = store, shown
        self._held = ExitStack()
        self._drafts: Path | None = None

    def __str__(self) -> str:
        return self._shown

    async def read(self, name: str) -> bytes | None:
        if await self._store.head(name) is None:
            return None
        return b"".join([block async for block in self._store.get(name)])

    async def size(self, name: str) -> int | None:
        found = await self._store.head(name)
        return None if found is None else found.size

    def draft(self, name: str) -> Path:
        try:
            if self._drafts is None:
                self._drafts = self._held.enter_context(temporary_folder())
        except OSError as error:
            raise cannot("written", Path(name), error) from error
        return self._drafts / "draft"

    def discard(self, draft: Path) -> None:
        draft.unlink(missing_ok=True)

    async def store(self, draft: Path, name: str, *, expected: str | None = None) -> None:
        try:
            await self._store.put(name, draft, expected=expected)
        except InvalidInput as error:
            raise UsageProblem(f"output {self._shown}: {error}") from error

    async def remove(self, name: str) -> None:
        await self._store.delete([name])

    async def close(self) -> None:
        self._held.close()
        await self._store.close()
