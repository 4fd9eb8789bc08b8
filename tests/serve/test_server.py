"""The command, as a process of its own: where it listens, signals, and requests while models are replaced."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import numpy as np
import pytest
from problems import kinds, quick

from oddkind import load, save
from oddkind.serve.server import address_of, listen

TOKEN = "a-long-enough-token"  # noqa: S105 - made up
WITH_TOKEN = {"authorization": f"Bearer {TOKEN}"}
COMMAND = [sys.executable, "-c", "from oddkind.cli.main import main; main()", "serve"]


class Process:
    """A running service; `address` is where it listens."""

    def __init__(self, *words):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [*COMMAND, *map(str, words), "--port", "0"]
        self.ended = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603
        self.said = []
        self.heard = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        self.address = re.search(r"http://\S+", self.wait_for(" at http://"))[0]

    def listen(self):
        for line in self.ended.stderr:
            with self.heard:
                self.said.append(line)
                self.heard.notify_all()

    def wait_for(self, text, seconds=60):
        """The first line from now on that holds a text."""
        with self.heard:
            found = self.heard.wait_for(lambda: [line for line in self.said if text in line], seconds)
            assert found, "".join(self.said)
            self.said = self.said[self.said.index(found[0]) + 1 :]
            return found[0]

    def send(self, number):
        self.ended.send_signal(number)


@pytest.fixture
def process():
    started = []

    def start(*words):
        started.append(Process(*words))
        return started[-1]

    yield start
    for one in started:
        one.ended.kill()
        one.ended.wait()
        one.ended.stderr.close()


def test_what_is_refused_at_the_start(models, tmp_path, command):
    def refused(*words):
        code, _, complaint = command("serve", *words)
        assert code == 2
        return complaint

    model = models["vectors"]
    short = tmp_path / "short.txt"
    short.write_text("short\n")
    assert "without a token only this computer" in refused(model, "--host", "0.0.0.0")  # noqa: S104
    assert "without a token only this computer" in refused(model, "--host", "::")
    assert "no token of at least 16" in refused(model, "--token-file", short)
    assert "No such file" in refused(model, "--token-file", tmp_path / "nothing.txt")
    assert "cannot be read" in refused(tmp_path / "nothing.oddkind", "--port", "0")
    assert "not a saved model" in refused(short, "--port", "0")
    assert "rename one" in refused(model, model, "--port", "0")
    assert "--max-body" in refused(model, "--max-body", "0")
    assert "--timeout" in refused(model, "--timeout", "nan")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen" in refused(model, "--port", taken.getsockname()[1])


def test_answers_do_not_wait_to_be_acknowledged():
    """A connection sends its small parts at once: the head and the body of an answer are two."""
    with listen("127.0.0.1", 0, with_token=False) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with listen("localhost", 0, with_token=False) as listening:
        assert address_of(listening).startswith("http://")


def test_without_the_extra_the_command_says_how_to_install_it(models, command, monkeypatch):
    monkeypatch.delitem(sys.modules, "oddkind.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, complaint = command("serve", models["vectors"])
    assert code == 2
    assert "pip install 'oddkind[serve]'" in complaint


@pytest.mark.slow
def test_a_request_that_has_begun_is_finished_on_sigterm(process, models):
    served = process(models["vectors"], "--host", "127.0.0.1")
    X = kinds(2000, seed=1)[0].tolist()
    begun, go = threading.Event(), threading.Event()

    def slowly():
        """The body of a request that arrives in two parts, with the signal in between."""
        text = json.dumps(X).encode()
        yield text[:1000]
        begun.set()
        go.wait(10)
        yield text[1000:]

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx2.post, f"{served.address}/models/vectors/score", content=slowly(), timeout=30)
        assert begun.wait(10)
        time.sleep(0.3)
        served.send(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx2.HTTPError):  # nobody new is let in
            httpx2.get(f"{served.address}/healthz")
        go.set()
        assert answer.result().status_code == 200
        assert len(answer.result().json()["results"]) == 2000
    assert served.ended.wait(20) == 0
    assert not [line for line in served.said if "Traceback" in line]


@pytest.mark.slow
def test_a_reload_loses_no_request_and_a_damaged_file_changes_nothing(process, tmp_path):
    file, token = tmp_path / "pump.oddkind", tmp_path / "token.txt"
    token.write_text(TOKEN + "\n")
    X, y = kinds(200)
    made = [quick(epochs=5, random_state=seed).fit(X, y).model_ for seed in range(2)]
    new = kinds(20, seed=1)[0]
    right = {}
    for model in made:
        save(model, file)
        right[json.loads(_manifest(file))["sha256"]] = load(file).anomaly_score(new).tolist()
    served = process(file, "--token-file", token)
    stop, answers = threading.Event(), []

    def ask(number):
        with httpx2.Client(headers=WITH_TOKEN, timeout=30) as client:
            while not stop.is_set():
                row = number % len(new)
                answer = client.post(f"{served.address}/models/pump/score", json=new[row : row + 1].tolist())
                answers.append((row, answer))
                number += 1

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        for model in (made[0], made[1], made[0], made[1]):
            save(model, file)
            served.send(signal.SIGHUP)
            served.wait_for("pump was replaced")
            time.sleep(0.2)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        served.send(signal.SIGHUP)
        assert "damaged" in served.wait_for("pump stays as it was")
        file.write_bytes(content)
        served.send(signal.SIGHUP)
        served.wait_for("pump is the same")
        stop.set()
        for one in asking:
            one.result()
    assert len(answers) > 50
    seen = set()
    for row, answer in answers:
        assert answer.status_code == 200, answer.text
        seen.add(answer.json()["fingerprint"])
        assert answer.json()["results"][0]["score"] == right[answer.json()["fingerprint"]][row]
    assert seen == set(right)
    metrics = httpx2.get(f"{served.address}/metrics", headers=WITH_TOKEN).text
    assert 'oddkind_reloads_total{result="failed"} 1.0' in metrics
    token.write_text("another-long-enough-token")
    served.send(signal.SIGHUP)
    served.wait_for("pump is the same")
    assert httpx2.get(f"{served.address}/models", headers=WITH_TOKEN).status_code == 401
    served.send(signal.SIGTERM)
    assert served.ended.wait(20) == 0


def _manifest(file):
    import zipfile

    with zipfile.ZipFile(file) as archive:
        return archive.read("manifest.json")


@pytest.mark.slow
def test_another_rate_and_a_slow_client(process, models):
    served = process(models["vectors"], "--false-alarm-rate", "0.1", "--timeout", "1")
    X = np.concatenate([kinds(30, seed=1)[0], np.full((3, 4), 9.0)])
    model = replace(load(models["vectors"]), false_alarm_rate=0.1)
    answer = httpx2.post(f"{served.address}/models/vectors/score", json=X.tolist()).json()
    assert [result["anomalous"] for result in answer["results"]] == (model.decide(X) == -1).tolist()

    def slowly():
        yield b"[["
        time.sleep(3)
        yield b"1,2,3,4]]"

    answer = httpx2.post(f"{served.address}/models/vectors/score", content=slowly(), timeout=20)
    assert answer.status_code == 408
    assert "within 1 s" in answer.json()["detail"]
    too_large = httpx2.post(f"{served.address}/models/vectors/score", content=b"1," * 20_000_000, timeout=20)
    assert too_large.status_code == 413
