"""Torch of the package index runs without CUDA, and only the one that is known is made to."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from tests.places import ROOT
from tools import torch_stubs
from tools.lock_check import pins


def test_torch_learns_on_the_processor_and_says_that_there_is_no_gpu() -> None:
    assert torch.__version__.partition("+")[0] == torch_stubs.KNOWN
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == (False, 0)
    with pytest.raises(RuntimeError):
        torch.zeros(1, device="cuda")
    weights = torch.ones(2, requires_grad=True)
    (weights @ torch.tensor([2.0, 3.0])).backward()
    assert weights.grad.tolist() == [2.0, 3.0]


def test_it_is_the_pinned_one_and_nothing_of_cuda_is_pinned() -> None:
    found = {
        pin.requirement.name: str(pin.requirement.specifier)
        for pin in pins((ROOT / "requirements/gnn.txt").read_text())
    }
    assert found["torch"] == f"=={torch_stubs.KNOWN}"
    assert not [name for name in found if name.startswith(("cuda", "nvidia", "triton"))]


@pytest.mark.parametrize(
    ("version", "said"), [("2.14.1", "torch 2.14.1 is installed"), (None, "torch none is installed")]
)
def test_another_torch_is_refused(
    version: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if version is not None:
        (tmp_path / f"torch-{version}.dist-info").mkdir()
        (tmp_path / f"torch-{version}.dist-info" / "METADATA").write_text(f"Name: torch\nVersion: {version}\n")
    monkeypatch.setattr(sys, "argv", ["torch_stubs", str(tmp_path)])
    assert torch_stubs.main() == 1
    error = capsys.readouterr().err
    assert said in error
    assert f"known for {torch_stubs.KNOWN} alone" in error
    assert [*tmp_path.rglob("*.so*")] == []


def test_without_a_compiler_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(torch_stubs.StubsError, match="readelf is missing: install gcc and binutils"):
        torch_stubs.make(Path(sysconfig.get_path("purelib")))
