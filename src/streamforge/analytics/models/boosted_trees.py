"""LightGBM as a model of the ladder: what a graph has to beat after fees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model import Arrays, Contender
from streamforge_utils.model.errors import ConfigError, InvalidInput

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class TreeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How trees are grown. rows, columns: the share of them that each tree sees. least: rows of a leaf."""

    trees: _Count = 200
    leaves: Annotated[int, msgspec.Meta(ge=2)] = 31
    learning_rate: _Share = 0.05
    rows: _Share = 0.8
    columns: _Share = 0.8
    least: _Count = 100


def _unheard() -> None:
    pass


class BoostedTrees:
    """Gradient boosting of the target's squared error on a coin's own features.

    on_tree: is called after each tree; what it raises ends the learning. Raises ConfigError without LightGBM.
    """

    def __init__(self, settings: TreeSettings, seed: int, on_tree: Callable[[], None] = _unheard) -> None:
        self._on_tree = on_tree
        self._lightgbm = _lightgbm()
        self._settings = settings
        self._seed = seed
        self._booster: Any = None

    def fit(self, train: Sequence[Sample]) -> None:
        target = np.concatenate([sample.target for sample in train])
        known = np.isfinite(target)
        inputs = np.concatenate([sample.features for sample in train])[known]
        settings = self._settings
        parameters = {
            "objective": "regression",
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "bagging_fraction": settings.rows,
            "bagging_freq": 1,
            "feature_fraction": settings.columns,
            "min_data_in_leaf": settings.least,
            "seed": self._seed,
            # The same trees each time, whatever the machine has of processors.
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        data = self._lightgbm.Dataset(inputs, target[known])
        self._booster = self._lightgbm.train(parameters, data, settings.trees, callbacks=[lambda _: self._on_tree()])

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        """Raises ValueError for a model that was neither trained nor restored."""
        if self._booster is None:
            raise ValueError("the trees are not trained yet")
        values = self._booster.predict(np.concatenate([sample.features for sample in test]), num_threads=1)
        return np.split(np.asarray(values, dtype=np.float64), np.cumsum([len(one.symbols) for one in test])[:-1])

    def state(self) -> Arrays:
        return {"trees": np.frombuffer(self._booster.model_to_string().encode(), dtype=np.uint8).copy()}

    def restore(self, state: Arrays) -> None:
        """Raises InvalidInput for arrays of another model."""
        if state.keys() != {"trees"}:
            raise InvalidInput("model", f"the arrays {', '.join(state)} are of no LightGBM: it has trees alone")
        try:
            self._booster = self._lightgbm.Booster(model_str=state["trees"].tobytes().decode())
        except (self._lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise InvalidInput("model", f"the trees cannot be read: {error}; make the model again") from error


def boosted_trees(settings: TreeSettings | None = None, on_tree: Callable[[], None] = _unheard) -> Contender:
    """It, by the name the verdict knows. Raises ConfigError without LightGBM."""
    chosen = settings or TreeSettings()
    text = f"{msgspec.json.encode(chosen).decode()}, version {_lightgbm().__version__}"
    return Contender("lightgbm", partial(BoostedTrees, chosen, on_tree=on_tree), seeded=True, settings=text)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            "LightGBM is not installed: pip install 'streamforge-market-data[gnn]', or leave it out of the ladder"
        ) from error
    return lightgbm
