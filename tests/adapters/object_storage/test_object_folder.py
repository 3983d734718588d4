"""Objects in a folder: kills, a full disk, what other programs put there."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamforge_utils.adapters.object_storage.object_folder import CHECKSUMS, DRAFTS, ObjectFolder
from streamforge_utils.model.errors import PermanentError, RetryableError
from tests.cleanenv import environment
from tests.contracts.objects import content, digest, names
from tests.limits import LIMIT_S

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from streamforge_utils.adapters.object_storage import object_folder
place, when = sys.argv[1], sys.argv[2]
owner, name = when.split(".") if "." in when else ("", when)
at = getattr(object_folder, owner) if owner else object_folder
before = getattr(at, name)
def killed(*given, **more):
    found = before(*given, **more) if sys.argv[3] == "after" else None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(at, name, killed)
asyncio.run(object_folder.ObjectFolder(Path(place)).put("a/b", b"new content"))
"""


def killed_at(root: Path, call: str, when: str) -> None:
    """Put `a/b` in a process that is killed at this call."""
    command = [sys.executable, "-c", KILLED, str(root), call, when]
    done = subprocess.run(command, env=environment(), timeout=LIMIT_S, check=False)
    assert done.returncode == -9


CREATED = """
import asyncio, sys
from pathlib import Path
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import ConflictError
async def create(own):
    store = ObjectFolder(Path(sys.argv[1]))
    sys.stdin.read(1)
    for turn in range(50):
        try:
            await store.put(f"a/{turn}", own, expected="")
            print(turn)
        except ConflictError:
            pass
asyncio.run(create(sys.argv[2].encode()))
"""


@pytest.mark.e2e
def test_of_processes_that_create_the_same_objects_one_creates_each(tmp_path: Path) -> None:
    root, pipe = tmp_path / "objects", subprocess.PIPE
    processes = {
        own: subprocess.Popen(
            [sys.executable, "-c", CREATED, str(root), own], env=environment(), stdin=pipe, stdout=pipe, text=True
        )
        for own in ("one", "two", "three")
    }
    told: list[tuple[str, bytes]] = []
    for process in processes.values():  # they begin together
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    for own, process in processes.items():
        told += [(f"a/{turn}", own.encode()) for turn in process.communicate(timeout=LIMIT_S)[0].split()]
        assert process.returncode == 0

    async def there() -> dict[str, bytes]:
        store = ObjectFolder(root)
        return {name: await content(store, name) for name in await names(store)}

    assert len(told) == 50
    assert asyncio.run(there()) == dict(told)


@pytest.mark.e2e
@pytest.mark.parametrize("there", [None, b"old content"])
@pytest.mark.parametrize(
    ("call", "when", "new"),
    [
        ("_copy", "after", False),
        ("ObjectFolder._note", "before", False),
        ("ObjectFolder._note", "after", False),
        ("ObjectFolder._place", "after", True),
    ],
)
async def test_a_kill_leaves_the_old_object_or_the_new_one_whole(
    tmp_path: Path, call: str, when: str, new: bool, there: bytes | None
) -> None:
    root = tmp_path / "objects"
    store = ObjectFolder(root)
    if there is not None:
        await store.put("a/b", there)
    killed_at(root, call, when)
    expected = b"new content" if new else there
    assert await names(store) == ([] if expected is None else ["a/b"])
    if expected is not None:
        info = await store.head("a/b")
        assert info is not None
        assert (info.sha256, await content(store, "a/b")) == (digest(expected), expected)
    fresh = ObjectFolder(root)
    await fresh.put("c", b"x")
    assert list((root / DRAFTS).iterdir()) == [], "what a killed process left is removed by the next put"


async def test_a_full_disk_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectFolder(tmp_path / "objects")
    await store.put("a/b", b"old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(RetryableError, match=r"object a/b in .*: no room is left .*make room on that disk"):
            await store.put("a/b", b"new")
    assert await content(store, "a/b") == b"old"
    assert list((tmp_path / "objects" / DRAFTS).iterdir()) == []


async def test_files_of_other_programs_are_objects_without_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"theirs")
    (tmp_path / ".hidden").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    store = ObjectFolder(tmp_path)
    assert await names(store) == ["sub/file"]
    info = await store.head("sub/file")
    assert info is not None
    assert info.sha256 is None
    assert await content(store, "sub/file") == b"theirs"


async def test_a_copy_of_the_folder_holds_the_same_objects(tmp_path: Path) -> None:
    put = await ObjectFolder(tmp_path / "objects").put("a/b", b"x" * 1000)
    shutil.copytree(tmp_path / "objects", tmp_path / "copy")
    assert await ObjectFolder(tmp_path / "copy").head("a/b") == put


async def test_an_object_and_a_folder_cannot_have_one_name(tmp_path: Path) -> None:
    store = ObjectFolder(tmp_path / "objects")
    await store.put("a/b", b"1")
    for name in ("a", "a/b/c"):
        with pytest.raises(PermanentError, match="choose another name"):
            await store.put(name, b"2")
    assert await names(store) == ["a/b"]


async def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = ObjectFolder(tmp_path / "file")
    with pytest.raises(PermanentError, match="a file is where a folder should be"):
        await store.put("a", b"")
    with pytest.raises(PermanentError, match="a file is where a folder should be"):
        await names(store)


async def test_damaged_checksums_are_told_and_a_put_repairs_them(tmp_path: Path) -> None:
    store = ObjectFolder(tmp_path)
    await store.put("a/b", b"1")
    (tmp_path / CHECKSUMS / "a" / "b").write_bytes(b"{")
    with pytest.raises(PermanentError, match="is damaged: remove it if the object itself is right"):
        await store.head("a/b")
    await store.put("a/b", b"2")
    assert await content(store, "a/b") == b"2"


async def test_an_empty_folder_is_left_by_nobody(tmp_path: Path) -> None:
    store = ObjectFolder(tmp_path / "objects")
    await store.put("a/b/c/d", b"1")
    await store.put("a/e", b"2")
    await store.delete(["a/b/c/d"])
    kept = sorted(path.relative_to(tmp_path / "objects").as_posix() for path in (tmp_path / "objects").rglob("*"))
    assert kept == [".checksums", ".checksums/a", ".checksums/a/e", ".drafts", ".lock", "a", "a/e"]
