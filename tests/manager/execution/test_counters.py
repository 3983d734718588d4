"""What alerts look at is there before anything has happened."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

from streamforge.manager import execution
from streamforge.manager.execution.dispatcher import TRIED, begin_at_zero
from streamforge.manager.lifecycle.actions import Action
from streamforge_utils.ports.instrumentation import NullObserver


def test_each_has_the_labels_with_which_it_is_counted_later() -> None:
    shown: dict[str, set[str]] = {}

    class Noting(NullObserver):
        def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
            assert amount == 0
            shown[name] = set(labels)

    begin_at_zero(Noting())
    counted = {ast.literal_eval(node.args[0]): {keyword.arg for keyword in node.keywords} for node in counts()}
    assert shown == {name: counted[name] for name in shown}
    assert shown.keys() == {
        "reconcile_failures_total",
        "workflow_failures_total",
        "orphans_ended_total",
        "missing_records_total",
        "workflow_changes_total",
        "action_failures_total",
    }


def counts() -> list[ast.Call]:
    """Every place where the manager's loop counts something."""
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(execution.__path__[0]).glob("*.py")]
    return [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func).removeprefix("self._") == "deps.observer.count"
    ]


def test_every_action_has_words_for_who_waits_for_it() -> None:
    assert TRIED.keys() == {action.__name__ for action in get_args(Action)}
