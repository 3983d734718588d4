"""The scores of a published model, moment by moment, as documents."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec.structs import replace

from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.models.catalogue import publishable
from streamforge.analytics.models.dataset import unlabelled
from streamforge.analytics.models.model_file import read_model
from streamforge.analytics.models.scoring_order import ScoringOrder, first_key
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import key_symbol
from streamforge_utils.ports.store import Document


class Scorer:
    """A model that is read back. Raises PermanentError where it is not the one that was ordered, ConfigError."""

    def __init__(self, order: ScoringOrder, content: bytes, panel: Panel) -> None:
        head, state = read_model(content, order.model)
        if head.run_id != order.run_id or head.dataset != order.dataset:
            raise PermanentError(f"the object {order.model} is of another run: train the model again")
        self._order = order
        self._panel = panel
        # A model that was trained on a GPU also scores without one.
        here = head.parameters if head.parameters.device == "cpu" else replace(head.parameters, device="auto")
        self._model = publishable(head.dataset, here, head.seed)
        self._model.restore(state)

    def documents(self, times: range, version: int) -> list[Document]:
        """A score for each coin of these moments; a moment sees what was closed by then."""
        order, found = self._order, list[Document]()
        samples = [one for one in unlabelled(order.dataset, self._panel, times) if one.symbols]
        for sample, scores in zip(samples, self._model.predict(samples), strict=True):
            if not np.isfinite(scores).all():
                raise PermanentError(
                    f"model {order.name} gives no number at {sample.time_ms} (unix ms): train it again"
                )
            for symbol, score in zip(sample.symbols, scores.tolist(), strict=True):
                body = {"time": sample.time_ms, "symbol": symbol, "score": score, "run_id": order.run_id}
                key = f"{first_key(sample.time_ms)}_{key_symbol(symbol)}"
                found.append(Document(key, version, msgspec.json.encode(body)))
        return found
