"""How it is known that a range is complete: one rule for each way in which records follow each other."""

from streamforge_utils.model.completeness.continuity import Continuity
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.completeness.sequence import Sequence

__all__ = ["Continuity", "Grid", "Rule", "Sequence"]
