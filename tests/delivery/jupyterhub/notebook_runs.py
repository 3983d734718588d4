"""Running a notebook as it is, in the environment of users' servers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.manifests.schemas import ROOT

Json = dict[str, Any]

USER_ENV = ROOT / "build" / "jupyter-env"
_LIMIT_S = 900
LOOK = """
import sys
import matplotlib.image, numpy
picture = matplotlib.image.imread(sys.argv[1])
print(*picture.shape[:2], len(numpy.unique(picture.reshape(-1, picture.shape[2]), axis=0)))
"""


def executed_cells(
    notebook: Path, folder: Path, more: Sequence[str] = (), changed: Mapping[str, str] | None = None, **settings: str
) -> list[Json]:
    """The cells after a run. more: cells behind the last one. changed: text to put instead of another, by that one."""
    jupyter = USER_ENV / "bin" / "jupyter"
    assert jupyter.exists(), f"{jupyter} is missing: `make jupyterhub-env` installs it"
    text = notebook.read_text("utf-8")
    for old, new in (changed or {}).items():
        assert old in text, f"{old} is not in {notebook.name}"
        text = text.replace(old, new)
    found = json.loads(text)
    for number, source in enumerate(more):
        cell: Json = {"cell_type": "code", "id": f"probe-{number}", "metadata": {}, "source": source}
        found["cells"].append({**cell, "execution_count": None, "outputs": []})
    path = folder / notebook.name
    path.write_text(json.dumps(found))
    commands = [str(USER_ENV / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        [str(jupyter), "execute", "--inplace", str(path)],
        cwd=folder,
        env={
            "PATH": os.pathsep.join(commands),
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "libs" / "streamforge_utils" / "src")]),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells: list[Json] = json.loads(path.read_text())["cells"]
    return cells


def text_of(cells: list[Json]) -> str:
    """What the cells printed."""
    return "".join(line for cell in cells for output in cell.get("outputs", []) for line in output.get("text", []))


def pictures(cells: list[Json]) -> list[bytes]:
    """What they drew, as PNG."""
    return [
        base64.b64decode(output["data"]["image/png"])
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def looked_at(picture: bytes, file: Path) -> tuple[int, ...]:
    """Height, width and the number of colours, by the users' own matplotlib."""
    file.write_bytes(picture)
    python = [str(USER_ENV / "bin" / "python"), "-c", LOOK, str(file)]
    done = subprocess.run(python, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    return tuple(map(int, done.stdout.split()))
