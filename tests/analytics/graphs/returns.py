"""Returns that are drawn, a definition that asks for little, and associations as whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.definition import GraphDefinition, read_definition
from streamforge.analytics.graphs.panel import Floats


def definition(**fields: Any) -> GraphDefinition:
    given = {"interval": "1h", "window": 40, "universe": {"min_volatility": 0}, **fields}
    if not {"threshold", "top_k", "mst", "tmfg"} & {*given}:
        given["threshold"] = 0
    return read_definition(given)


def moves(coins: int = 6, rows: int = 40, seed: int = 1) -> Floats:
    generator = np.random.default_rng(seed)
    return 0.01 * (
        generator.normal(size=(rows, 1)) * generator.uniform(-1, 2, coins) + generator.normal(size=(rows, coins))
    )


def units(expected: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Of associations what `Associations` has of them."""
    found: np.ndarray[Any, np.dtype[np.int32]] = np.rint(np.nan_to_num(expected) * UNITS).astype(np.int32)
    np.fill_diagonal(found, 0)
    return found
