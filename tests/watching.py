"""A watch without a trained model, for tests of everything around it; as a program, one that can be killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oddkind.watch.folder import Folder
from oddkind.watch.judge import Judgement
from oddkind.watch.loop import watch
from oddkind.watch.messages import Messages
from oddkind.watch.monitor import Monitor
from oddkind.watch.mqtt import broker_of
from oddkind.watch.outputs import FileOutput
from oddkind.watch.payloads import Payloads
from oddkind.watch.sender import Sender
from oddkind.watch.state import State, Step

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def model_of(kind=None, **settings):
    """What sources ask of a model: how files are read, or the shape of its samples."""
    source = None if kind is None else {"settings": {"kind": kind, **settings}, "files": [], "learnt": [], "pool": ""}
    inputs = SimpleNamespace(shape=(2,), validate=np.asarray)
    return SimpleNamespace(source=source, inputs=inputs, false_alarm_rate=0.05)


class Judge:
    """Judges by the name: its hash is the score."""

    model = model_of()

    def __call__(self, item):
        if item.problem is not None:
            return [Judgement(item.name, problem=item.problem)]
        score = sum(map(ord, item.name)) % 97 / 97
        return [Judgement(item.name, item.label, score, 1 - score, score > 0.9, score)]

    def knows(self, label):
        return False

    def category(self, label):
        return ""

    def calibration(self, *, with_labels):
        return {"": np.linspace(0, 1, 39)}

    def n_calibration(self, *, with_labels):
        return {"": 39}


def nothing(*_):
    pass


def folder_source(folder, state, stop, **given):
    options = {"settle": 0.1, "once": False, "new_only": False, "remember": nothing, "notify": nothing} | given
    return Folder(folder, model_of("arrays"), state.marks(), stop=stop, **options)


def message_source(address, state, **given):
    model, client = model_of(), state.fact("mqtt_client") or f"test-{os.getpid()}"
    state.commit(Step(facts={"mqtt_client": client}))
    options = {"forget": state.forget, "notify": nothing} | given
    return Messages(broker_of(address), client, Payloads(model, None), state.marks(), **options)


def run(where, out, folder, stop, **given):
    """Watch until `stop` is set or the source ends, and return the summary."""
    state = State(Path(folder))
    try:
        if "://" in str(where):
            source = message_source(where, state, **given)
        else:
            source = folder_source(Path(where), state, stop, **given)
        output, judge = FileOutput(Path(out), state), Judge()
        monitor = Monitor(judge, state, outputs=[(output.name, output.wants)])
        sender = Sender(output, state.another(), nothing)
        return watch(source, judge, monitor, state, [sender], stop)
    finally:
        state.close()


def started(*words):
    """Start this file as a program."""
    return subprocess.Popen([sys.executable, __file__, *map(str, words)])  # noqa: S603


def n_lines(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def killed_often(words, out, n, seed=0):
    """Start the program and kill it, n times: while it starts or while it writes."""
    draw = np.random.default_rng(seed)
    for number in range(n):
        process, before = started(*words), n_lines(out)
        if number % 3:
            assert until(lambda before=before: n_lines(out) > before)
            time.sleep(draw.uniform(0, 0.1))
        else:
            time.sleep(draw.uniform(0, 1.5))
        process.kill()
        process.wait()


def items(out):
    """How often each item is in a file of lines."""
    return Counter(json.loads(line)["item"] for line in out.read_text(encoding="utf-8").splitlines())


class Mosquitto:
    """A broker of its own, on a free port of this machine."""

    def __init__(self, folder, *lines, anonymous=True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        kept = ["persistence true", f"persistence_location {folder}/", "max_queued_messages 0"]
        user = ["user root"] if os.geteuid() == 0 else []
        allowed = f"allow_anonymous {str(anonymous).lower()}"
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", allowed, *kept, *user, *lines, ""]))
        self.start()

    def start(self):
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._config], stderr=subprocess.DEVNULL)  # noqa: S603
        assert until(self._listens)

    def stop(self):
        self._process.terminate()
        self._process.wait(20)

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def end_at(moment, out):
    """Let the process end, without cleaning up, at a moment of its second item."""
    commit, delivered = State.commit, State.delivered

    def ending_commit(self, step):
        if step.lines and moment == "before the commit" and n_lines(out):
            os._exit(9)
        commit(self, step)
        if step.lines and moment == "after the commit":
            os._exit(9)

    def ending_delivered(self, output, last, facts=None):
        if last > 0 and moment == "after the line is written":
            os._exit(9)
        delivered(self, output, last, facts)

    State.commit, State.delivered = ending_commit, ending_delivered


if __name__ == "__main__":
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    where, written, kept, *moments = sys.argv[1:]
    for when in moments:
        end_at(when, Path(written))
    run(where, written, kept, ended, **({"once": True} if moments else {}))
