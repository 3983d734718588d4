"""Makes torch of the package index work without the 2 GB of CUDA it wants: `python tools/torch_stubs.py SITE_PACKAGES`.

For tests and an image on a processor alone. The index has no such torch for Linux; its wheel names libraries of CUDA,
without which it is not loaded. Stand-ins with the same names and symbols are compiled by gcc and put beside it; each
of their functions answers "no device". Only of a torch that is known: with another one a function might be called
before that. It needs nothing but Python, gcc and readelf.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

KNOWN = "2.15.0"
"""The version of torch this was tried with; the same as in requirements/gnn.in."""
_NO_DEVICE = 100
_CUDA = re.compile(r"lib(cu(?!da\.so)|nccl|nv)\w*\.so\.\d+")
"""Of the driver, libcuda.so, nothing is made: torch looks for it later, and can do without."""
_TEXT = re.compile(r"(Error|Status)(String|Name)|LastError")
_TRIED = """
import torch
weights = torch.ones(2, requires_grad=True)
(weights @ torch.tensor([2.0, 3.0])).backward()
assert weights.grad.tolist() == [2.0, 3.0] and not torch.cuda.is_available()
"""


class StubsError(Exception):
    """What failed, and what to do."""


def make(site_packages: Path) -> list[str]:
    """Put a stand-in beside torch for each library that is missing; their names. None where none is missing."""
    folder = site_packages / "torch" / "lib"
    version = installed(site_packages)
    if version != KNOWN:
        raise StubsError(
            f"torch {version or 'none'} is installed in {site_packages}, and stand-ins are known for {KNOWN} alone: "
            "install that one, or try them with this one (KNOWN in tools/torch_stubs.py) and run make test-gnn"
        )
    libraries = [*folder.glob("*.so*"), *(site_packages / "torch").glob("_C.*.so")]
    wanted = {name for one in libraries for name in _needed(one)}
    missing = sorted(name for name in wanted if _CUDA.fullmatch(name) and not (folder / name).exists())
    symbols = {name: defaultdict[str, set[str]](set) for name in missing}
    for one in libraries:
        for symbol, at in _undefined(one):
            library = at if at in symbols else _by_prefix(symbol, missing)
            if library is not None:
                symbols[library][at].add(symbol)
    for name in missing:
        _compile(folder / name, symbols[name])
    return missing


def installed(site_packages: Path) -> str:
    """The version of torch that is there; empty: none."""
    found = metadata.Distribution.discover(name="torch", path=[str(site_packages)])
    return next((one.version.partition("+")[0] for one in found), "")


def _needed(library: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.+)\]", _output(["readelf", "-W", "--dynamic", str(library)]))


def _undefined(library: Path) -> Iterable[tuple[str, str]]:
    """What a library looks for in others: symbols and versions, which most libraries of CUDA name like themselves."""
    for line in _output(["readelf", "-W", "--dyn-syms", str(library)]).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[6] == "UND" and fields[4] == "GLOBAL":
            symbol, _, at = fields[7].partition("@")
            yield symbol, at


def _by_prefix(symbol: str, libraries: Sequence[str]) -> str | None:
    """The library whose name a symbol begins with, the longest; None: it is none of theirs."""
    stems = {re.split(r"[_.]", name.removeprefix("lib"))[0].lower(): name for name in libraries}
    found = [stem for stem in stems if symbol.lower().startswith(stem)]
    return stems[max(found, key=len)] if found else None


def _compile(target: Path, symbols: dict[str, set[str]]) -> None:
    source, versions = list[str](), list[str]()
    for version, names in sorted(symbols.items()):
        for name in sorted(names):
            text = _TEXT.search(name)
            source.append(
                f'const char *{name}(void) {{ return "no device"; }}'
                if text
                else f"int {name}(void) {{ return {_NO_DEVICE}; }}"
            )
        if version:
            versions.append(f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))} }};")
    with tempfile.TemporaryDirectory() as scratch:
        code, script = Path(scratch, "stub.c"), Path(scratch, "versions")
        code.write_text("\n".join([*source, ""]), "ascii")
        script.write_text("\n".join([*versions, ""]), "ascii")
        options = ["-shared", "-fPIC", "-O1", "-s", "-w", "-fno-builtin", "-nostdlib", f"-Wl,-soname,{target.name}"]
        options += [f"-Wl,--version-script={script}"] if versions else []
        _output(["gcc", *options, "-o", str(target), str(code)])


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError as error:
        raise StubsError(f"{command[0]} is missing: install gcc and binutils") from error
    if done.returncode:
        raise StubsError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def main() -> int:
    """Make them, and see that torch learns with them; 1 with the reason if it does not."""
    if len(sys.argv) != 2:
        print("usage: python tools/torch_stubs.py SITE_PACKAGES (of the environment's Python)", file=sys.stderr)
        return 2
    try:
        made = make(Path(sys.argv[1])) if sys.platform == "linux" else []
        _output([sys.executable, "-c", _TRIED])
    except StubsError as error:
        print(f"torch-stubs: {error}", file=sys.stderr)
        return 1
    print(f"torch-stubs: torch {KNOWN} runs on the processor, with {len(made)} stand-ins for CUDA")
    return 0


if __name__ == "__main__":
    sys.exit(main())
