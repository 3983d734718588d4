"""What the process that trains tells the worker while a model learns."""

from __future__ import annotations

from streamforge.analytics.models.ladder import Part
from streamforge.analytics.models.model import Epoch
from streamforge.analytics.models.training import Epochs
from streamforge.analytics.models.training_messages import Learning


def test_of_epochs_a_few_in_a_second_are_told() -> None:
    told, now = list[Learning](), [0.0]
    epochs = Epochs(told.append, lambda: now[0])
    for number in range(1, 101):  # of 10 ms each
        epochs(Part("r", "graph", 1, 2), Epoch(number, 400, 0.5, 0.5))
        now[0] += 0.01
    assert told == [Learning("graph", 1, 2, number, 400) for number in (1, 26, 51, 76)]
