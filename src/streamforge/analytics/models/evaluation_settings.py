"""How models are compared. Needs no arithmetic."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.analytics.models.folds import FoldRules


class EvaluationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are compared. fee_bp: basis points of what is traded. top: of the precision. trials: how many models
    were tried, all runs before this one included; 0: those of the ladder."""

    folds: FoldRules
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    fee_bp: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    top: Annotated[int, msgspec.Meta(ge=1)] = 10
    trials: Annotated[int, msgspec.Meta(ge=0)] = 0
