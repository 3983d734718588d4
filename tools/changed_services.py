"""Tells which services a change concerns, for pipelines whose CI cannot decide it by itself (GitHub's workflows).

    python3 tools/changed_services.py BASE     a JSON list of services: those whose files differ from the commit BASE,
                                               or all of them where git does not know that commit
    python3 tools/changed_services.py --all    all of them

A service is a folder of services/ with a pipeline of its own (.gitlab-ci.yml), which names the same files in the same
form. It needs Python alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERY_SERVICE = (
    ".dockerignore",
    ".github/workflows/*",
    "libs/streamforge_utils/**/*",
    "platform/*",
    "pyproject.toml",
    "requirements/*",
    "src/streamforge/**/*",
)
"""What every service is made of, as in `.when_all_services_change` of .gitlab/ci-templates/."""

MORE = {"gnn-trainer": ("tools/torch_stubs.py",)}
"""What a service's image is made of beside that and its own folder, as in its pipeline."""


def services(root: Path = ROOT) -> list[str]:
    """The services that have a pipeline."""
    return sorted(path.parent.name for path in root.glob("services/*/.gitlab-ci.yml"))


def concerned(changed: Iterable[str], known: Sequence[str]) -> list[str]:
    """Those of `known` whose images or tests the changed files may alter; paths are from the root, with slashes."""
    files = list(changed)
    if any(_matches(pattern, file) for pattern in EVERY_SERVICE for file in files):
        return list(known)
    own = {name: (f"services/{name}/**/*", *MORE.get(name, ())) for name in known}
    return [name for name in known if any(_matches(one, file) for one in own[name] for file in files)]


def _matches(pattern: str, file: str) -> bool:
    """`*` stays within a folder, `**/` is any number of folders, none among them: GitLab's and GitHub's rule."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    rule = "".join({"**/": "(?:[^/]+/)*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(rule, file) is not None


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or (arguments[0].startswith("-") and arguments[0] != "--all"):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments[0] == "--all":
        print(json.dumps(services()))
        return 0
    command = ["git", "diff", "--name-only", "-z", "--no-renames", arguments[0], "--"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        # The first push of a branch has none before it, and one that was forced has lost it: all may have changed.
        print(f"changed_services: git does not know the commit {arguments[0]}: all services", file=sys.stderr)
        print(json.dumps(services()))
        return 0
    print(json.dumps(concerned(filter(None, done.stdout.split("\0")), services())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
