"""What is said of a workflow that ended before the command, and of a name that is none."""

from __future__ import annotations

from datetime import datetime

from streamforge.cli import terminal
from tests.cli.support import Cli


def test_of_a_workflow_that_ended_earlier_it_is_said_when(loaded: Cli) -> None:
    [listed] = loaded("queues", "--json").ok().json["queues"]
    queue_id, created, ended = listed["queue_id"], listed["created_at"], listed["ended_at"]
    took = (datetime.fromisoformat(ended) - datetime.fromisoformat(created)).total_seconds()
    ran = loaded("wait", queue_id).ok()
    told = (
        f"{queue_id} finished at {terminal.moment(ended)} (took {terminal.duration(took)}): 360 of 360 records stored"
    )
    assert ran.out.startswith(told)


def test_a_queue_id_with_a_wrong_letter_is_recognised(loaded: Cli) -> None:
    [listed] = loaded("queues", "--json").ok().json["queues"]
    right = listed["queue_id"]
    for wrong in ("x" if right[-1] != "x" else "y", "X" if right[-1] != "x" else "Y"):
        name = right[:-1] + wrong
        for command in ("show", "wait", "retry"):
            ran = loaded(command, name)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err.endswith(f"there is no workflow '{name.lower()}': did you mean {right}?\n"), ran.err
    other = right[:-6] + ("qqqqqq" if not set("q") & set(right[-6:]) else "000000")
    assert "did you mean" not in loaded("show", other).err
    assert loaded("show", right.upper()).ok().out.startswith(right)
