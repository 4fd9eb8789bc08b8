import os
import threading
import time
import warnings

import numpy as np
import pytest
from problems import RATE, record
from watching import folder_source, model_of, nothing, until

from oddkind import InputError, score_files
from oddkind.files.score import read_as_learnt
from oddkind.watch.folder import MARK, Folder
from oddkind.watch.judge import Judge
from oddkind.watch.state import State, Step


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    yield state
    state.close()


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def put(folder, name, old=True):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.zeros(3))
    if old:
        os.utime(file, (1, 1))
    return file


def polled(source, seconds=5.0):
    """The next items, however often one has to look."""
    found = []
    until(lambda: found.extend(source.poll(0.05) or []) or found, seconds)
    return found


def test_files_that_are_there_come_once_the_oldest_first(incoming, state):
    put(incoming, "b.npy")
    os.utime(put(incoming, "a.npy"), (9, 9))
    put(incoming, "sub/c.npy")
    (incoming / "note.txt").write_text("no array")
    source = folder_source(incoming, state, threading.Event(), once=True)
    items = source.poll(0)
    assert [item.name for item in items] == ["b.npy", "sub/c.npy", "a.npy"]
    assert source.poll(0) is None
    state.commit(Step(marks=dict(items[0].marks)))
    again = folder_source(incoming, state, threading.Event(), once=True)
    assert [item.name for item in again.poll(0)] == ["sub/c.npy", "a.npy"]


def test_a_new_file_comes_and_one_that_changes_comes_again(incoming, state):
    stop = threading.Event()
    source = folder_source(incoming, state, stop)
    assert source.poll(0.05) == []
    put(incoming, "new.npy", old=False)
    assert [item.name for item in polled(source)] == ["new.npy"]
    put(incoming, "new.npy", old=False)
    assert [item.name for item in polled(source)] == ["new.npy"]
    stop.set()
    source.close()


def test_a_file_is_not_read_while_it_is_written(incoming, state):
    stop, source = threading.Event(), None
    source = folder_source(incoming, state, stop, settle=0.5)
    with (incoming / "slow.npy").open("wb") as content:
        for _ in range(8):
            content.write(b"part")
            content.flush()
            written = time.monotonic()
            while time.monotonic() < written + 0.15:
                assert source.poll(0.02) == []
    assert source.left_over() == "1 file was still being written"
    (item,) = polled(source)
    assert time.monotonic() - written >= 0.45
    assert item.name == "slow.npy"
    stop.set()


def test_a_file_that_is_moved_here_comes_at_once(incoming, tmp_path, state):
    source = folder_source(incoming, state, threading.Event(), settle=60, once=True)
    put(tmp_path, "ready.npy").rename(incoming / "ready.npy")
    assert [item.name for item in source.poll(0)] == ["ready.npy"]


def test_a_time_in_the_future_says_nothing(incoming, state):
    os.utime(put(incoming, "a.npy"), (time.time() + 1e6,) * 2)
    source = folder_source(incoming, state, threading.Event(), settle=0.2, once=True)
    assert source.poll(0.05) == []
    assert [item.name for item in polled(source)] == ["a.npy"]


def test_only_new_files_are_judged_if_asked_for(incoming, state):
    put(incoming, "old.npy")
    kept = {}
    source = folder_source(incoming, state, threading.Event(), once=True, new_only=True, remember=kept.update)
    assert [*kept] == [MARK + "old.npy"]
    put(incoming, "new.npy")
    assert [item.name for item in source.poll(0)] == ["new.npy"]


def test_many_files_come_in_portions(incoming, state, monkeypatch):
    monkeypatch.setattr("oddkind.watch.folder.MOST", 4)
    for number in range(10):
        put(incoming, f"{number}.npy")
    source = folder_source(incoming, state, threading.Event(), once=True)
    portions = [*iter(lambda: source.poll(0), None)]
    assert [len(portion) for portion in portions] == [4, 4, 2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(incoming, state):
    put(incoming, "secret.npy").chmod(0)
    (item,) = folder_source(incoming, state, threading.Event(), once=True).poll(0)
    assert "no permission" in item.problem


def test_a_name_that_does_not_match_the_pattern_is_named(incoming, state):
    put(incoming, "a.npy")
    put(incoming, "fan_1.npy")
    source = folder_source(incoming, state, threading.Event(), once=True, pattern="{label}_{take}.npy")
    found = {item.name: item for item in source.poll(0)}
    assert "does not match the pattern" in found["a.npy"].problem
    assert found["fan_1.npy"].label == "fan"


def test_an_option_that_is_wrong_is_not_said_of_each_file(incoming, state):
    put(incoming, "a.npy")
    put(incoming, "b.npy")
    source = folder_source(incoming, state, threading.Event(), once=True, label="machine")
    with pytest.raises(InputError, match="--label names the field 'machine', which does not exist"):
        source.poll(0)


def test_a_file_that_cannot_be_listed_does_not_hold_up_others(incoming, state):
    put(incoming, "train_a.npy")
    put(incoming, "exam_b.npy")
    source = folder_source(incoming, state, threading.Event(), once=True, pattern="{split}_{take}.npy")
    found = {item.name: item.problem for item in source.poll(0)}
    assert found == {"train_a.npy": None, "exam_b.npy": "the split is 'exam'; it must be train or test"}


def test_everything_can_have_one_label(incoming, state):
    put(incoming, "a.npy")
    source = folder_source(incoming, state, threading.Event(), once=True, stream_label="pump 3")
    assert [entry.label for entry in source.poll(0)[0].entries] == ["pump 3"]


def test_where_changes_are_not_reported_the_folder_is_looked_at(incoming, state, monkeypatch):
    def broken(*_, **__):
        raise OSError("too many folders")
        yield

    monkeypatch.setattr("watchfiles.watch", broken)
    monkeypatch.setattr("oddkind.watch.folder.RESCAN", 0.1)
    heard, stop = [], threading.Event()
    source = folder_source(incoming, state, stop, notify=heard.append)
    assert source.poll(0.05) == []
    put(incoming, "a.npy")
    assert [item.name for item in polled(source)] == ["a.npy"]
    assert "too many folders" in heard[0]


def test_masks_are_passed_over(tmp_path, state):
    for name in ("test/hole/000.png", "ground_truth/hole/000_mask.png"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        os.utime(file, (1, 1))
    model = model_of("pictures", size=(64, 64), grey=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = Folder(
            tmp_path / "in",
            model,
            {},
            settle=0.1,
            stop=threading.Event(),
            once=True,
            new_only=False,
            remember=nothing,
            notify=nothing,
        )
        assert [item.name for item in source.poll(0)] == ["test/hole/000.png"]
        assert source.poll(0) is None


def test_files_are_judged_as_score_judges_them(fitted, data, state):
    test = data / "fan 2" / "test"
    source = Folder(
        test,
        fitted,
        {},
        settle=0.0,
        stop=threading.Event(),
        once=True,
        new_only=False,
        remember=nothing,
        notify=nothing,
    )
    judge, found = Judge(fitted), {}
    while (items := source.poll(0)) is not None:
        found |= {judged.name: judged for item in items for judged in judge(item)}
    verdicts = score_files(read_as_learnt(fitted, test)[0], fitted)
    assert len(verdicts) == len(found) == 12
    for verdict in verdicts:
        own = found[verdict.path]
        assert (own.score, own.p_value, own.anomalous, own.label) == (
            verdict.score,
            verdict.p_value,
            verdict.anomalous,
            verdict.label,
        )
        assert own.drift_score == own.score


def test_a_damaged_file_is_named_and_the_next_is_judged(fitted, state, tmp_path):
    folder = tmp_path / "in"
    record(folder, "fan 2/good.wav", 600, 1)
    record(folder, "fan 2/cut.wav", 600, 2)
    cut = folder / "fan 2" / "cut.wav"
    cut.write_bytes(cut.read_bytes()[: RATE // 2])
    source = Folder(
        folder,
        fitted,
        {},
        settle=0.0,
        stop=threading.Event(),
        once=True,
        new_only=False,
        remember=nothing,
        notify=nothing,
    )
    found = {judged.name: judged for item in source.poll(0) for judged in Judge(fitted)(item)}
    assert "incomplete" in found["fan 2/cut.wav"].problem
    assert found["fan 2/good.wav"].problem is None
