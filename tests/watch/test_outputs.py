import http.server
import json
import os
import threading
from pathlib import Path

import pytest
from watching import nothing, until

from oddkind import InputError
from oddkind.watch.outputs import DeliveryError, FileOutput, StandardOutput, Webhook
from oddkind.watch.sender import Sender
from oddkind.watch.state import State, Step


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    yield state
    state.close()


def queue(state, name, *lines, first=1):
    state.commit(Step(lines=[(number, [name], line) for number, line in enumerate(lines, first)]))
    return state.undelivered(name)


def test_lines_are_appended_to_what_is_there(tmp_path, state):
    file = tmp_path / "out.jsonl"
    file.write_text("before\n")
    output = FileOutput(file, state)
    output.deliver(queue(state, output.name, "a", "b"), state)
    assert file.read_text() == "before\na\nb\n"
    assert state.undelivered(output.name) == []


@pytest.mark.parametrize("written", ["", "a", "a\n", "a\nbé"])
def test_what_was_written_before_a_kill_is_not_written_twice(tmp_path, state, written):
    file = tmp_path / "out.jsonl"
    output = FileOutput(file, state)
    output.deliver(queue(state, output.name, "0"), state)
    queue(state, output.name, "a", "bé", first=2)
    with file.open("a", encoding="utf-8") as content:
        content.write(written)  # and then the process was killed
    again = FileOutput(file, state)
    again.deliver(state.undelivered(output.name), state)
    assert file.read_text(encoding="utf-8") == "0\na\nbé\n"


def test_what_another_program_appended_is_not_lost(tmp_path, state):
    file = tmp_path / "out.jsonl"
    output = FileOutput(file, state)
    output.deliver(queue(state, output.name, "0"), state)
    with file.open("a") as content:
        content.write("mine\n")
    lines = queue(state, output.name, "a", first=2)
    with pytest.raises(DeliveryError, match="another program"):
        output.deliver(lines, state)
    with pytest.raises(InputError, match=r"another program has appended to it\); name another file with --out"):
        FileOutput(file, state)
    assert file.read_text() == "0\nmine\n"


def test_a_file_that_is_rotated_is_begun_anew(tmp_path, state):
    file = tmp_path / "out.jsonl"
    output = FileOutput(file, state)
    output.deliver(queue(state, output.name, "a"), state)
    file.rename(tmp_path / "out.jsonl.1")
    output.deliver(queue(state, output.name, "b", first=2), state)
    assert file.read_text() == "b\n"
    with file.open("w"):
        pass  # emptied in place, as copytruncate does
    output.deliver(queue(state, output.name, "c", first=3), state)
    assert file.read_text() == "c\n"


@pytest.mark.parametrize("name", ["no/folder/out.jsonl", "."])
def test_a_file_that_cannot_be_written_is_refused(tmp_path, state, name):
    with pytest.raises(InputError, match="--out"):
        FileOutput(tmp_path / name, state)


def test_names_that_are_not_utf_8_are_escaped(tmp_path, state):
    output = FileOutput(tmp_path / "out.jsonl", state)
    output.deliver([(1, "\udcff")], state)
    assert (tmp_path / "out.jsonl").read_bytes() == b"\\udcff\n"


def test_lines_are_printed(state, capsys):
    output = StandardOutput(nothing)
    output.deliver(queue(state, output.name, "a", "b"), state)
    assert capsys.readouterr().out == "a\nb\n"
    assert state.undelivered(output.name) == []


@pytest.fixture
def server():
    """A web server that answers with the next of its codes, 200 when there is none left, and what it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        received, codes = [], []

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            code = self.codes.pop(0) if self.codes else 200
            self.received.append((code, body, dict(self.headers)))
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.received, Handler.codes = [], []
        server.url = f"http://127.0.0.1:{server.server_port}/secret/path"
        server.handler = Handler
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_webhook_gets_each_line_with_a_key(state, server, monkeypatch):
    monkeypatch.setenv("ODDKIND_WEBHOOK_TOKEN", "token")
    output = Webhook(server.url, "state")
    output.deliver(queue(state, output.name, '{"a": 1}', '{"a": 2}'), state)
    assert [(code, json.loads(body)["a"]) for code, body, _ in server.handler.received] == [(200, 1), (200, 2)]
    headers = server.handler.received[1][2]
    assert headers["Idempotency-Key"] == "state-2"
    assert headers["Authorization"] == "Bearer token"
    assert headers["Content-Type"] == "application/json"
    assert "secret" not in output.name


@pytest.mark.parametrize("code", [302, 400, 429, 500])
def test_what_a_webhook_does_not_take_is_kept(state, server, code):
    server.handler.codes += [200, code]
    output = Webhook(server.url, "state")
    with pytest.raises(DeliveryError, match=str(code)):
        output.deliver(queue(state, output.name, "a", "b", "c"), state)
    assert state.undelivered(output.name) == [(2, "b"), (3, "c")]


def test_a_webhook_can_want_alarms_only():
    output = Webhook("http://localhost", "state", alarms_only=True)
    wanted = [{"alarm": True}, {"alarm": False, "drift_alarm": True}, {"error": "is empty"}]
    assert all(map(output.wants, wanted))
    assert not output.wants({"alarm": False, "drift": True})


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "host", "http://"])
def test_other_addresses_are_refused(url):
    with pytest.raises(InputError, match="http://"):
        Webhook(url, "state")


def test_lines_are_sent_again_until_they_are_delivered(state, server, monkeypatch):
    monkeypatch.setattr("oddkind.watch.sender.FIRST_WAIT", 0.02)
    server.handler.codes += [500, 503, 200, 500]
    output, heard = Webhook(server.url, "state"), []
    queue(state, output.name, "a", "b")
    sender = Sender(output, state.another(), heard.append)
    assert until(lambda: not state.undelivered(output.name))
    assert sender.finish(5) == 0
    assert [body for code, body, _ in server.handler.received if code == 200] == ["a", "b"]
    assert [" are " in text for text in heard] == [True] * 4
    assert "the server answers 500" in heard[0]
    assert "delivered again" in heard[1]


def test_what_cannot_be_delivered_is_kept_for_the_next_time(state, monkeypatch):
    monkeypatch.setattr("oddkind.watch.sender.FIRST_WAIT", 0.02)
    output = Webhook("http://127.0.0.1:1", "state")
    queue(state, output.name, "a")
    sender = Sender(output, state.another(), nothing)
    assert sender.finish(0.3) == 1
    assert state.undelivered(output.name) == [(1, "a")]


def test_a_disk_that_is_full_loses_nothing(tmp_path, state, monkeypatch):
    output = FileOutput(tmp_path / "out.jsonl", state)
    lines = queue(state, output.name, "a")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DeliveryError, match="No space left"):
            output.deliver(lines, state)
    output.deliver(state.undelivered(output.name), state)
    assert Path(tmp_path / "out.jsonl").read_text() == "a\n"
