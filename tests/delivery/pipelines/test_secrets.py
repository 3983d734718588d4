"""The secret scanner finds what is planted: in a file that is not committed yet, and in the history."""

from __future__ import annotations

import hashlib
import re

from tests.delivery.pipelines.checkout import Checkout
from tests.engines.process import cache_folder

# Of the form of GitLab's access tokens, and nobody's; put together here, so that it is in no file of this repository.
PLANTED = "glpat-" + hashlib.sha256(b"nobody's").hexdigest()[:20]


def searched(repository: Checkout) -> tuple[int, str]:
    """Exit code and output of `make secrets` in the clone, with the scanner from everybody's cache."""
    done = repository.run(["tools/check_secrets.sh"], {"XDG_CACHE_HOME": str(cache_folder().parent)}, limit_s=240)
    return done.returncode, done.stdout + done.stderr


def test_planted_secrets_are_found_and_not_repeated(repository: Checkout) -> None:
    """That it finds nothing where there is nothing, `make check` shows."""
    taken_out = repository.folder / "notes.txt"
    repository.branch("README.md")
    taken_out.write_text(f"{PLANTED}\n")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", "Add notes")
    taken_out.unlink()
    repository.git("commit", "--quiet", "--all", "--message", "Take them out")
    (repository.folder / "services" / "dummy-service" / "settings.py").write_text(f'TOKEN = "{PLANTED}"\n')
    code, output = searched(repository)
    assert code == 1
    assert sorted(re.findall(r"^File: +(\S+)", output, re.MULTILINE)) == [
        "notes.txt",
        "services/dummy-service/settings.py",
    ]
    assert set(re.findall(r"^RuleID: +(\S+)", output, re.MULTILINE)) == {"gitlab-pat"}
    assert PLANTED not in output
