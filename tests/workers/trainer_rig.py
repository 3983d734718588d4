"""A gnn-trainer as tests run it: on the embedded store, a folder of objects, and a made-up market."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from streamforge.analytics.graphs.order import order_name
from streamforge.analytics.graphs.panel import Floats, Panel
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.model_manifest import ModelManifest, manifest_name, read_model_manifest
from streamforge.analytics.models.training_order import TrainingOrder
from streamforge.workers.gnn_trainer import DEFINITION
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.ports.object_store import ObjectInfo, ObjectStore
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings
from tests.analytics.models.markets import DAY_MS, START_MS, definition, moves, panel_of
from tests.runtime.rig import QUEUE, Rig, last

TYPE = "api_candles_1d"
DAYS = 90
SETTINGS = EvaluationSettings(folds=FoldRules(test=12, least_train=16), top=2, seeds=(0, 1))


class Objects:
    """A folder of objects. refusing: what names of objects end with that cannot be put. put_names: all that were."""

    def __init__(self, folder: Path) -> None:
        self.inner: ObjectStore = ObjectFolder(folder)
        self.refusing = ""
        self.put_names: list[str] = []

    async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
        if self.refusing and name.endswith(self.refusing):
            raise PermanentError(f"object {name} cannot be put: the bucket is full; make room")
        found = await self.inner.put(name, content, expected=expected)
        self.put_names.append(name)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class TrainerRig(Rig):
    """A gnn-trainer, and the store with the bars that it reads."""

    def __init__(self, folder: Path, attempt: int = 1) -> None:
        super().__init__(folder)
        for name in ("STREAMFORGE_UPSTREAM", "KAFKA_TOPIC", "COLLECTION_NAME", "TIME_RANGE"):
            del self.environment[name]
        self.environment |= {"SYMBOL": "M", "TYPE": "gnn_train", "STREAMFORGE_MODEL": "neighbour_mean"}
        self.objects = Objects(folder / "objects")

    def make_object_store(self, settings: ObjectSettings, data: DataSettings) -> ObjectStore:
        return self.objects

    async def fill(self, coins: int = 6, **changes: Any) -> TrainingOrder:
        panel = panel_of(moves(DAYS, 10, 1, own=0.4)[:, :coins])
        opens, closes = panel.after(START_MS, DAYS)
        for place, symbol in enumerate(panel.symbols):
            series = series_of(symbol, TYPE)
            documents = [
                Document(kind_of(series).key(series, time), 1, msgspec.json.encode(_candle(symbol, time, *prices)))
                for time, prices in _bars(panel, opens[:, place], closes[:, place])
            ]
            await self.stored.upsert("bars", documents)
        whole = Segment(
            start_ms=START_MS, end_ms=START_MS + DAYS * DAY_MS, verdict=Verdict.STORED, collection="bars", records=DAYS
        )
        order = TrainingOrder(
            name="m",
            dataset=definition(),
            evaluation=SETTINGS,
            type=TYPE,
            start_ms=START_MS + 45 * DAY_MS,
            end_ms=START_MS + DAYS * DAY_MS,
            inputs={symbol: [whole] for symbol in panel.symbols},
        )
        order = msgspec.structs.replace(order, **changes)
        await self.objects.put(order_name(QUEUE), msgspec.json.encode(order))
        return order

    async def names(self) -> list[str]:
        return [one.name async for one in self.objects.list("models/")]

    async def content(self, name: str) -> bytes:
        return b"".join([block async for block in self.objects.get(name)])

    async def manifest(self) -> ModelManifest:
        event, progress = last(await self.events())
        assert (event.event, progress.share) == ("finished", 1), event.error_message
        name = manifest_name("m", (event.extra or {})["run_id"])
        return read_model_manifest(await self.content(name), name)

    async def refused(self, code: int) -> str:
        """Why it fails, with this exit code; nothing is published then."""
        assert await self.live(DEFINITION) == code
        event, _ = last(await self.events())
        assert event.event == "error"
        assert not [name for name in await self.names() if name.endswith("manifest.json")]
        return event.error_message or ""


def _bars(panel: Panel, opens: Floats, closes: Floats) -> list[tuple[int, tuple[float, float]]]:
    times = range(START_MS, START_MS + DAYS * DAY_MS, DAY_MS)
    return [(time, (float(open), float(close))) for time, open, close in zip(times, opens, closes, strict=True)]


def _candle(symbol: str, time: int, open: float, close: float) -> dict[str, Any]:
    amounts = ("volume", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume")
    return {
        "symbol": symbol,
        "interval": "1d",
        "open_time": time,
        "open": open,
        "high": max(open, close),
        "low": min(open, close),
        "close": close,
        **dict.fromkeys(amounts, 1.0),
        "close_time": time + DAY_MS - 1,
        "quote_asset_volume": 1e6,
        "number_of_trades": 1,
    }


def checkpoints(rig: TrainerRig) -> list[str]:
    return [name for name in rig.objects.put_names if "/checkpoints/" in name]


def children(parent: int | None = None, command: bytes = b"analytics.models.training") -> list[int]:
    """Those of a process, which is this one unless another is named, with a word in what they were begun with."""
    own = parent or os.getpid()
    found = [int(one) for one in Path(f"/proc/{own}/task/{own}/children").read_text().split()]
    return [one for one in found if command in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    """A zombie, which nobody has waited for, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
