"""The databases that the tests make on somebody's server: new ones, and none is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import storeenv
from tests.arango import servers
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess


def names(double: ArangoProcess) -> set[str]:
    return set(double.ask("GET", "/_api/database")["result"])


def test_a_database_that_somebody_made_before_is_not_used(shared_double: ArangoProcess) -> None:
    servers.databases(shared_double)("sf-old")
    with pytest.raises(AssertionError, match="409"):
        servers.databases(shared_double)("sf-old")


def test_what_can_be_dropped_is_dropped_though_one_cannot(tmp_path: Path) -> None:
    with arangoprocess.running(tmp_path / "double") as double:
        found = servers.databases(double)
        before = names(double)
        for name in ("sf-a", "sf-b", "sf-c"):
            assert found(name)["ARANGO_DB"] == name
        double.ask("DELETE", "/_api/database/sf-b")
        double.fail("error", number=28, method="DELETE", path="sf-c", times=1)
        with pytest.raises(AssertionError, match=r"these databases are left: \['sf-c: .*28") as error:
            found.drop()
        assert "sf-a" not in str(error.value)
        assert names(double) - before == {"sf-c"}


def test_two_runs_use_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def server(name: str) -> dict[str, str]:
        asked.append(name)
        return {"ARANGO_DB": name}

    with storeenv.instead(server):
        assert storeenv.environment(tmp_path / "data") == storeenv.environment(tmp_path / "data")
    monkeypatch.setattr(storeenv, "_RUN", "another")
    with storeenv.instead(server):
        storeenv.environment(tmp_path / "data")
    assert len(set(asked)) == len(asked) == 2
