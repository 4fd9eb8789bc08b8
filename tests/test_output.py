"""Files and folders of results: whole, or not at all."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from oddkind import InputError
from oddkind.files.cache import cached
from oddkind.output import results_folder, sweep, written_whole


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_results_appear_at_the_end_and_replace_those_of_an_earlier_run(tmp_path):
    folder = tmp_path / "runs" / "lab"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("old")
    (folder / "notes.txt").write_text("the user's own")
    with results_folder(folder) as (unfinished, checkpoints):
        assert list(unfinished.iterdir()) == []
        (unfinished / "results.json").write_text("new")
        (unfinished / "roc.png").write_text("picture")
        checkpoints.mkdir()
        (checkpoints / "state").write_text("half")
        assert (folder / "results.json").read_text() == "old"
        assert not (folder / "roc.png").exists()
    assert names(folder) == ["notes.txt", "results.json", "roc.png"]
    assert (folder / "results.json").read_text() == "new"
    assert (folder / "notes.txt").read_text() == "the user's own"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_run_that_fails_leaves_nothing_but_its_checkpoints(tmp_path, error):
    def fail(folder):
        with results_folder(folder) as (unfinished, checkpoints):
            (unfinished / "results.json").write_text("new")
            checkpoints.mkdir(exist_ok=True)
            (checkpoints / "state").write_text("half")
            raise error

    (tmp_path / "results.json").write_text("old")
    with pytest.raises(error):
        fail(tmp_path)
    assert names(tmp_path) == [".checkpoints", ".checkpoints/state", "results.json"]
    assert (tmp_path / "results.json").read_text() == "old"
    with results_folder(tmp_path) as (_, checkpoints):
        assert (checkpoints / "state").read_text() == "half"
    assert names(tmp_path) == ["results.json"]


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / below
    with pytest.raises(InputError, match=r"file.*: cannot be written \(.+\); name a folder that can"):  # noqa: SIM117
        with results_folder(folder):
            pytest.fail("began all the same")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_made_for_a_run_that_fails_at_once_goes_again(tmp_path):
    with pytest.raises(InputError), results_folder(tmp_path / "runs" / "lab"):
        raise InputError("nothing to do")
    assert not (tmp_path / "runs" / "lab").exists()


# --- One file ---------------------------------------------------------------------------------------------


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path):
    file = tmp_path / "model.oddkind"
    file.write_text("old")
    with written_whole(file) as unfinished:
        assert unfinished.parent == tmp_path  # so that it can be moved at once
        unfinished.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["model.oddkind"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path, old, error):
    file = tmp_path / "model.oddkind"
    if old is not None:
        file.write_text(old)

    def fail():
        with written_whole(file) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ([] if old is None else ["model.oddkind"])
    if old is not None:
        assert file.read_text() == old


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    for file in (tmp_path / "gone" / "model.oddkind", tmp_path):
        with (
            pytest.raises(InputError, match=r": cannot be written \(.+\); name a file that can"),
            written_whole(file) as unfinished,
        ):
            unfinished.write_text("new")
    assert names(tmp_path) == []


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path):
    file = tmp_path / "model.oddkind"

    def write(number):
        with written_whole(file) as unfinished:
            unfinished.write_text(str(number) * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(set(file.read_text())) == 1
    assert names(tmp_path) == ["model.oddkind"]


# --- What a killed process leaves ---------------------------------------------------------------------------

WRITERS = {
    "a file": """
with written_whole(folder / "o.csv") as unfinished:
    unfinished.write_text("half")
    END
""",
    "results": """
with results_folder(folder) as (unfinished, checkpoints):
    (unfinished / "results.json").write_text("half")
    checkpoints.mkdir()
    with written_whole(checkpoints / "state") as state:
        state.write_text("half")
        END
""",
    "a cache": """
(folder / "content").write_text("of a file")
(folder / "ab").mkdir()
with written_whole(folder / "ab" / "cd.npy") as unfinished:
    unfinished.write_text("half")
    END
""",
}
BEGIN = """
import os, signal, time
from pathlib import Path
from oddkind.output import results_folder, written_whole
folder = Path(FOLDER)
"""


def program(folder, what, end):
    text = BEGIN.replace("FOLDER", repr(str(folder))) + WRITERS[what].replace("END", end)
    return [sys.executable, "-c", text]


def killed(folder, what):
    command = program(folder, what, "os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run(command, check=False)  # noqa: S603
    return [name for name in names(folder) if "unfinished" in name]


def start_anew(folder, what):
    if what == "a file":
        with written_whole(folder / "another.csv") as unfinished:
            unfinished.write_text("whole")
    elif what == "results":
        with results_folder(folder) as (unfinished, checkpoints):
            (unfinished / "results.json").write_text("whole")
            checkpoints.mkdir(exist_ok=True)
            with written_whole(checkpoints / "other") as state:
                state.write_text("whole")
    else:
        cached(folder, folder / "content", "settings", lambda: np.zeros(2))


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX alone")
@pytest.mark.parametrize("what", WRITERS)
def test_what_a_killed_process_left_is_swept_up_at_the_next_start(tmp_path, what):
    assert killed(tmp_path, what)
    start_anew(tmp_path, what)
    assert [name for name in names(tmp_path) if "unfinished" in name or ".checkpoints" in name] == []


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX alone")
@pytest.mark.parametrize("what", WRITERS)
def test_what_a_living_process_writes_is_never_swept_up(tmp_path, what):
    with subprocess.Popen(program(tmp_path, what, "time.sleep(60)")) as writer:  # noqa: S603
        try:
            while not any(path.is_file() and path.read_text() == "half" for path in tmp_path.rglob("*unfinished*")):
                time.sleep(0.02)
            before = names(tmp_path)
            start_anew(tmp_path, what)
            assert set(before) <= set(names(tmp_path))
        finally:
            writer.kill()


def test_names_that_only_look_unfinished_are_kept(tmp_path):
    kept = [".unfinished-abcdefgh", ".o.csv.unfinished-00000000-999999999-1", "unfinished-1-2-3", ".o.csv.12-34"]
    for name in kept:
        (tmp_path / name).write_text("someone's")
    sweep(tmp_path)
    sweep(tmp_path / "gone")
    assert names(tmp_path) == sorted(kept)
