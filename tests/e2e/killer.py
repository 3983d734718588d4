"""Kills workflows at random points, and compares what comes of them: of graphs and of models.

A point is drawn as a number of files that are there; sometimes the manager is killed with the worker.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.e2e import rig
from tests.limits import LIMIT_S


class Subject(NamedTuple):
    """What is made again and again.

    worker: what is killed. kind: `graphs` or `models`, as in paths of the API and names of objects. asked: the request
    for a random case. told: what says all of it, with its `sha256`. parts: the folder whose files
    are counted, of its own. points: how many there are at most.
    """

    worker: str
    kind: str
    name: str
    asked: Callable[[Random], dict[str, Any]]
    told: Callable[[rig.Manager], dict[str, Any]]
    parts: str
    points: int


def survive(subject: Subject, folder: Path, exchange_url: str, *, cases: int, seed: int) -> str:
    """Make it once undisturbed, then killed in each case. Raises AssertionError where one differs."""
    random = Random(seed)
    hits = managers = 0
    with rig.manager(folder, exchange_url) as manager:
        manager.finished(_asked(subject, manager, random, load_missing=True))
        whole = subject.told(manager)
        for case in range(cases):
            manager.api.delete(f"/{subject.kind}/{subject.name}").raise_for_status()
            point, both = random.randrange(subject.points), random.random() < 0.3
            queue_id = _asked(subject, manager, random)
            manager.until(queue_id, "it was begun", lambda one: rig.step(one, subject.worker)["attempts"] != [])
            if _reached(subject, manager, queue_id, point):
                hits += _kill(manager, queue_id, subject.worker)
                if both:
                    managers += 1
                    manager.kill()
                    manager.start()
            manager.finished(queue_id)
            found = subject.told(manager)
            assert found == whole, f"seed {seed}, case {case}: killed at {point} files it is another one"
    return f"{cases} cases, {hits} workers and {managers} managers killed: one sha256, {whole['sha256']}"


def _asked(subject: Subject, manager: rig.Manager, random: Random, **more: Any) -> str:
    answer = manager.api.post(f"/{subject.kind}", json={**subject.asked(random), **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def _reached(subject: Subject, manager: rig.Manager, queue_id: str, point: int) -> bool:
    """Wait until so many files are there; False: its worker ended before."""
    own = manager.data / "objects" / subject.kind / subject.name / subject.parts
    deadline = time.monotonic() + LIMIT_S
    # Not by Path.glob, which fails where a folder goes meanwhile.
    while sum(len(files) for _, _, files in os.walk(own)) < point:
        if manager.show(queue_id)["status"] in rig.ENDED:
            return False
        assert time.monotonic() < deadline, manager.story(queue_id)
    return True


def _kill(manager: rig.Manager, queue_id: str, worker: str) -> int:
    """Kill the worker; 0: it has ended already."""
    try:
        manager.kill_worker(queue_id, worker, signal.SIGKILL)
    except (OSError, KeyError, ValueError):
        return 0
    return 1


def main(
    subject: Callable[[argparse.Namespace], Subject],
    program: str,
    description: str | None,
    own: Sequence[argparse.ArgumentParser] = (),
) -> None:
    """subject: of what was asked for. own: the options that others do not have."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description, parents=own)
    parser.add_argument("--cases", type=int, default=50, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the points")
    args = parser.parse_args()
    with rig.exchange("--no-limits") as exchange, tempfile.TemporaryDirectory(prefix="streamforge-kills-") as folder:
        print(survive(subject(args), Path(folder) / "data", exchange.url, cases=args.cases, seed=args.seed))
