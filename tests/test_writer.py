"""All files are written or none, wherever a process is killed."""

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from stzoo import writer
from stzoo.writer import WHOLE, read, recover, write

OLD = {"a": b"old" * 9, "b": b"old" * 999}
FRESH = {"a": b"new" * 8, "b": b"new" * 888}
# For every call that changes a folder or a file, a child process writes once and is
# killed right before this call. Then this prints what a reader finds, before and after
# the next writer. Files are written in pieces, so that a kill can truncate them.
KILLED = """
import json, os, runpy, signal, sys, tempfile
from pathlib import Path
from huggingface_hub.utils import WeakFileLock

writer = runpy.run_path(sys.argv[1])
old, new = ({n: d.encode() for n, d in f.items()} for f in json.loads(sys.argv[2]))
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fsync", "write")

def found(folder):
    return [writer["read"](folder, name).decode() for name in old]

def child(folder, last):
    count = 0
    def step(event, arguments=()):
        nonlocal count
        if event not in EVENTS:
            return
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def small_pieces(path, mode):
        file = open(path, mode, buffering=0)
        class Pieces:
            def __enter__(self): return self
            def __exit__(self, *_): file.close()
            def flush(self): pass
            def fileno(self): return file.fileno()
            def write(self, data):
                for start in range(0, len(data), 1000):
                    step("write")
                    file.write(data[start : start + 1000])
        return Pieces()
    fsync = os.fsync
    os.fsync = lambda number: (step("fsync"), fsync(number))
    writer["write"].__globals__["open"] = small_pieces
    sys.addaudithook(step)
    writer["write"](folder, new)
    os._exit(0)

for last in range(1, 1000):
    folder = Path(tempfile.mkdtemp(dir=sys.argv[3]))
    writer["write"](folder, old)
    if not (process := os.fork()):
        child(folder, last)
    killed = os.waitpid(process, 0)[1] == signal.SIGKILL
    seen = found(folder)
    if last % 2:
        writer["recover"](folder)
        assert found(folder) == seen
        assert not (folder / writer["WHOLE"]).exists()
    writer["write"](folder, {"c": b""})
    assert found(folder) == seen
    print(json.dumps([killed, seen, sorted(os.listdir(folder))]))
    if not killed:
        break
"""


def nested(files):
    """The same files, one of them in a folder."""
    return {"a": files["a"], "in/b": files["b"]}


def strings(files):
    return {name: data.decode() for name, data in files.items()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("shape", [dict, nested])
def test_a_kill_before_any_call_leaves_the_old_or_the_new_files(shape, tmp_path):
    before, after = shape(OLD), shape(FRESH)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, writer.__file__]
        + [json.dumps([strings(before), strings(after)]), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    old, new = ([*strings(files).values()] for files in (before, after))
    seen = [row[1] for row in rows]
    turn = seen.index(new)
    assert 10 < turn < len(rows) - 3
    assert seen == [old] * turn + [new] * (len(rows) - turn)
    assert [killed for killed, *_ in rows] == [True] * (len(rows) - 1) + [False]
    names = sorted({name.split("/")[0] for name in after} | {"c"})
    assert {tuple(row[2]) for row in rows} == {tuple(names)}


def test_a_folder_contains_only_its_files(tmp_path):
    write(tmp_path / "new" / "folder", OLD)
    write(tmp_path / "new" / "folder", FRESH)
    folder = tmp_path / "new" / "folder"
    assert sorted(os.listdir(folder)) == ["a", "b"]
    assert {name: read(folder, name) for name in FRESH} == FRESH
    with pytest.raises(FileNotFoundError):
        read(folder, "c")


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_an_error_leaves_the_old_files(tmp_path, monkeypatch, call):
    write(tmp_path, OLD)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"os.{call}", full)
        with pytest.raises(OSError, match="No space"):
            write(tmp_path, FRESH)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert {name: read(tmp_path, name) for name in OLD} == OLD


def leave_whole(folder):
    """Leaves the files of a writer that was killed right after they were complete."""
    write(folder, OLD)
    (folder / WHOLE).mkdir()
    for name, data in FRESH.items():
        (folder / WHOLE / name).write_bytes(data)


def test_recover_moves_complete_files_unless_another_process_writes(tmp_path):
    leave_whole(tmp_path)
    with writer._locked(tmp_path, 1):
        recover(tmp_path)
        assert (tmp_path / WHOLE).is_dir()
        assert {name: read(tmp_path, name) for name in FRESH} == FRESH
    recover(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert {name: read(tmp_path, name) for name in FRESH} == FRESH


def test_reading_needs_no_permission_to_write(tmp_path, monkeypatch):
    leave_whole(tmp_path)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("huggingface_hub.utils.WeakFileLock", refused)
    recover(tmp_path)
    assert {name: read(tmp_path, name) for name in FRESH} == FRESH


def test_waiting_too_long_is_an_error(tmp_path, monkeypatch):
    write(tmp_path, OLD)
    monkeypatch.setattr(writer, "PATIENCE", 0.1)
    with writer._locked(tmp_path, 1):
        with pytest.raises(TimeoutError, match="Another process is writing to"):
            write(tmp_path, FRESH)
    assert {name: read(tmp_path, name) for name in OLD} == OLD
    write(tmp_path, FRESH)


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def no_lock(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("huggingface_hub.utils.WeakFileLock", no_lock)
    write(tmp_path, OLD)
    assert {name: read(tmp_path, name) for name in OLD} == OLD
    assert "cannot be locked (No locks available)" in caplog.text


def test_writers_do_not_mix_their_files(tmp_path):
    """Eight threads write and move their files at the same time."""

    def save(number):
        for _ in range(10):
            write(tmp_path, {"a": b"%d" % number, "b": b"%d" % number})

    threads = [threading.Thread(target=save, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(tmp_path, "a") == read(tmp_path, "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
