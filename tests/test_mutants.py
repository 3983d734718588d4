"""The modules and tests of `make mutants` exist, and its report is what mutmut found."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tools.mutants import report, workspace
from tools.mutants.report import explanations, function_of, outcome
from tools.mutants.workspace import Group, Workspace, groups

MODULE = "libs/streamforge_utils/src/streamforge_utils/model/coverage.py"


def test_every_module_and_every_test_of_a_group_is_there() -> None:
    found = groups()
    assert {"proof", "coverage", "deciding", "lease", "rate-budget", "input", "sinks"} <= found.keys()
    modules = [module for group in found.values() for module in group.modules]
    assert len(modules) == len(set(modules)), "a module is mutated once"


@pytest.mark.e2e
def test_its_environment_is_made_by_no_python_but_its_own_and_that_of_the_checkout() -> None:
    command = ["make", "--dry-run", "--what-if=requirements/mutants.txt", "build/mutants-env/.done"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(command, cwd=workspace.ROOT, env=outside, capture_output=True, text=True, check=True).stdout
    assert "requirements/mutants.txt" in told
    assert {*re.findall(r"build/[\w-]+(?=/bin/)", told)} == {"build/mutants-env"}


@pytest.mark.parametrize(
    ("module", "without", "message"),
    [
        ("src/streamforge/gone.py", "", r"groups.toml, \[one\]: src/streamforge/gone.py: not there"),
        (MODULE, "tests/test_mutants.py::test_gone", r"\[one\]: tests/test_mutants.py::test_gone: not there"),
    ],
)
def test_a_module_or_a_test_that_is_not_there_any_more_is_named(
    module: str, without: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = "tests/test_mutants.py::test_a_module_or_a_test_that_is_not_there_any_more_is_named"
    file = tmp_path / "groups.toml"
    file.write_text(
        f'[one]\nmodules = ["{module}"]\ntests = ["tests/test_mutants.py"]\nwithout = ["{without or there}", "{there}"]'
    )
    monkeypatch.setattr(workspace, "_GROUPS", file)
    with pytest.raises(ValueError, match=message):
        groups()


@pytest.mark.parametrize(
    ("mutant", "function"),
    [
        ("streamforge.a.x_kept_ms__mutmut_3", "streamforge.a.kept_ms"),
        ("streamforge.a.x__plain__mutmut_12", "streamforge.a._plain"),
        ("streamforge.a.xǁLeaseǁtake__mutmut_1", "streamforge.a.Lease.take"),
        ("streamforge.a.xǁLeaseǁ_now__mutmut_1", "streamforge.a.Lease._now"),
    ],
)
def test_a_mutant_is_told_by_its_function(mutant: str, function: str) -> None:
    assert function_of(mutant) == function


def test_what_mutmut_found_is_counted_and_only_what_nobody_noticed_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "BUILD", tmp_path)
    of = Workspace("coverage", Group(modules=[MODULE], tests=[]))
    assert of.modules == ["src/streamforge_utils/model/coverage.py"]
    meta = of.folder / "mutants" / "src" / "streamforge_utils" / "model" / "coverage.py.meta"
    meta.parent.mkdir(parents=True)
    codes = {"killed": 1, "internal": 3, "types": 37, "slow": -24, "lives": 0, "untested": 33, "later": None, "odd": 4}
    meta.write_text(json.dumps({"exit_code_by_key": codes}))
    found = outcome(of)
    assert found.counts == {
        "killed": 2,
        "by types": 1,
        "too long": 1,
        "lives": 1,
        "no test": 1,
        "not tried": 1,
        "broken": 1,
    }
    assert found.noticed == 4
    assert found.living == ["lives", "untested", "later", "odd"]


def test_every_explanation_has_a_change_and_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for change, why in explanations().items():
        assert change.lines, change
        assert len(why) > 20, change
        assert callable(resolve_name(change.function)), change  # raises where there is no such name
    file = tmp_path / "explained.toml"
    file.write_text('[[lives]]\nfunction = "a.b"\nchange = ["-    x = 1", "+    x = 2"]\nwhy = "x is never read"\n')
    monkeypatch.setattr(report, "EXPLAINED", file)
    assert explanations() == {report.Change("a.b", ("- x = 1", "+ x = 2")): "x is never read"}


def test_results_speak_of_the_code_as_it_was_and_not_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ROOT": tmp_path / "root", "BUILD": tmp_path / "build"}.items():
        monkeypatch.setattr(workspace, name, value)
    of = Workspace("coverage", Group(modules=[MODULE], tests=[]))
    assert not of.is_current(), "nothing was made yet"
    for file in (tmp_path / "root" / MODULE, of.folder / of.modules[0]):
        file.parent.mkdir(parents=True)
        file.write_text("x = 1")
    assert of.is_current()
    (tmp_path / "root" / MODULE).write_text("x = 2")
    assert not of.is_current()
