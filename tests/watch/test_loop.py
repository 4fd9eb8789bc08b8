import signal
import threading
import time

import numpy as np
import pytest
from watching import items, killed_often, n_lines, run, started, until


def put(folder, number):
    with (folder / f"{number}.npy").open("wb") as content:
        np.save(content, np.zeros(2))


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_what_is_there_is_judged_and_then_what_comes(incoming, tmp_path):
    words, stop, found = (incoming, tmp_path / "out.jsonl", tmp_path / "state"), threading.Event(), []
    for number in range(3):
        put(incoming, number)
    thread = threading.Thread(target=lambda: found.append(run(*words, stop)))
    thread.start()
    assert until(lambda: n_lines(words[1]) == 3)
    put(incoming, 3)
    assert until(lambda: n_lines(words[1]) == 4)
    stop.set()
    thread.join()
    assert found[0]["items"] == found[0]["lines"] == 4
    assert found[0]["undelivered"] == {}
    assert run(*words, threading.Event(), once=True)["items"] == 0


def test_a_signal_ends_it_and_it_continues(incoming, tmp_path):
    out = tmp_path / "out.jsonl"
    for number in range(5):
        put(incoming, number)
    process = started(incoming, out, tmp_path / "state")
    assert until(lambda: n_lines(out) == 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    put(incoming, 5)
    summary = run(incoming, out, tmp_path / "state", threading.Event(), once=True)
    assert summary["items"] == 1
    assert set(items(out).values()) == {1}


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_lost_or_repeated(incoming, tmp_path):
    out, stop, expected = tmp_path / "out.jsonl", threading.Event(), set()

    def feed():
        while not stop.wait(0.01):
            put(incoming, len(expected))
            expected.add(f"{len(expected)}.npy")

    feeder = threading.Thread(target=feed)
    feeder.start()
    killed_often((incoming, out, tmp_path / "state"), out, 8)
    stop.set()
    feeder.join()
    time.sleep(0.2)
    run(incoming, out, tmp_path / "state", threading.Event(), once=True)
    found = items(out)
    assert set(found) == expected
    assert set(found.values()) == {1}


@pytest.mark.parametrize("moment", ["before the commit", "after the commit", "after the line is written"])
def test_killed_at_the_worst_moment_nothing_is_lost_or_repeated(incoming, tmp_path, moment):
    """The process ends exactly there, without cleaning up."""
    out, state = tmp_path / "out.jsonl", tmp_path / "state"
    for number in range(6):
        put(incoming, number)
    for _ in range(3):
        assert started(incoming, out, state, moment).wait(20) in (9, 0 if moment == "before the commit" else 9)
    run(incoming, out, state, threading.Event(), once=True)
    assert items(out) == {f"{number}.npy": 1 for number in range(6)}
