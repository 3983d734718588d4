"""A workflow that is killed at random points makes the same graph, or the same model with the same card."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.graph_killer import GRAPH
from tests.e2e.killer import Subject, survive
from tests.e2e.model_killer import MODEL


@pytest.mark.long
@pytest.mark.parametrize("subject", [GRAPH, MODEL], ids=lambda subject: subject.kind)
def test_killed_at_random_points_it_is_the_same(subject: Subject, tmp_path: Path) -> None:
    with rig.exchange("--no-limits") as exchange:
        assert "one sha256" in survive(subject, tmp_path / "data", exchange.url, cases=8, seed=3)
