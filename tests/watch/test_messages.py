import json
import subprocess
import threading
import time

import pytest
from watching import (
    Mosquitto,
    items,
    killed_often,
    message_source,
    n_lines,
    needs_mosquitto,
    run,
    started,
    until,
)

from oddkind import InputError
from oddkind.watch.mqtt import Broker, Publisher, broker_of
from oddkind.watch.state import State, Step

pytestmark = needs_mosquitto


@pytest.fixture
def server(tmp_path):
    (tmp_path / "broker").mkdir()
    server = Mosquitto(tmp_path / "broker")
    yield server
    server.stop()


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    yield state
    state.close()


def address(server, topic="press/#"):
    return f"mqtt://127.0.0.1:{server.port}/{topic}"


def publish(server, *topics):
    for topic in topics:
        publisher = Publisher(broker_of(address(server, topic)))
        publisher.publish([json.dumps([1.0, 2.0]).encode()])
        publisher.close()


def received(source, n, state=None, acknowledge=True):
    """The next n items; with a state their marks are kept."""
    found = []
    deadline = time.monotonic() + 10
    while len(found) < n and time.monotonic() < deadline:
        for item in source.poll(0.1) or []:
            found.append(item)
            if state is not None:
                state.commit(Step(marks=dict(item.marks)))
            if acknowledge:
                source.done(item)
    return [item.name for item in found]


def subscribed(server, state, **given):
    source = message_source(address(server), state, **given)
    assert until(lambda: source.poll(0.05) == [] and source._connected)
    time.sleep(0.2)
    return source


def test_messages_are_judged_once_also_those_that_came_meanwhile(server, state):
    source = subscribed(server, state)
    publish(server, "press/1", "press/2")
    assert received(source, 2, state) == ["press/1", "press/2"]
    time.sleep(0.2)
    source.close()
    publish(server, "press/3")
    source = message_source(address(server), state)
    assert received(source, 1, state) == ["press/3"]
    assert source.poll(0.5) == []
    source.close()


def test_what_was_not_acknowledged_comes_again_and_is_known(server, state):
    source = subscribed(server, state)
    publish(server, "press/1", "press/2")
    assert received(source, 1, state, acknowledge=False) == ["press/1"]  # judged and kept, then killed
    source.close()
    source = message_source(address(server), state)
    assert received(source, 1, state) == ["press/2"]
    assert source.poll(0.5) == []
    source.close()


def test_what_was_not_kept_comes_again(server, state):
    source = subscribed(server, state)
    publish(server, "press/1")
    assert received(source, 1, None, acknowledge=False) == ["press/1"]  # killed before it was kept
    source.close()
    source = message_source(address(server), state)
    assert received(source, 1, state) == ["press/1"]
    source.close()


def test_after_a_restart_of_the_broker_nothing_is_lost_or_repeated(server, state):
    heard = []
    source = subscribed(server, state, notify=heard.append)
    publish(server, "press/1", "press/2", "press/3")
    assert received(source, 1, state) == ["press/1"]
    time.sleep(0.3)
    server.stop()
    server.start()
    publish(server, "press/4")
    assert received(source, 3, state) == ["press/2", "press/3", "press/4"]
    assert source.poll(0.5) == []
    assert any("is lost" in text for text in heard)
    assert any("connected again" in text for text in heard)
    source.close()


def test_retained_messages_do_not_come_again(server, state):
    source = subscribed(server, state)
    source._client.publish("press/kept", b"[1, 2]", qos=1, retain=True).wait_for_publish(5)
    assert received(source, 1, state) == ["press/kept"]
    time.sleep(0.2)
    source.close()
    source = message_source(address(server), state)
    assert until(lambda: source.poll(0.05) == [] and source._connected)
    assert [source.poll(0.1) for _ in range(5)] == [[]] * 5
    source.close()


def test_once_ends_when_nothing_comes(server, state):
    subscribed(server, state).close()
    publish(server, "press/1")
    source = message_source(address(server), state, idle=0.5)
    assert received(source, 1, state) == ["press/1"]
    assert until(lambda: source.poll(0.1) is None)
    source.close()


def test_a_password_that_is_wrong_is_refused(tmp_path, state, monkeypatch):
    if subprocess.run(["which", "mosquitto_passwd"], capture_output=True, check=False).returncode:  # noqa: S607
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "me", "right"], check=True)  # noqa: S603, S607
    passwords.chmod(0o644)
    (tmp_path / "guarded").mkdir()
    server = Mosquitto(tmp_path / "guarded", f"password_file {passwords}", anonymous=False)
    named = f"mqtt://me@127.0.0.1:{server.port}/press/%23"
    monkeypatch.setenv("ODDKIND_MQTT_PASSWORD", "wrong")
    source = message_source(named, state)
    time.sleep(1)
    with pytest.raises(InputError, match="refuses the connection"):
        source.poll(0.1)
    source.close()
    monkeypatch.setenv("ODDKIND_MQTT_PASSWORD", "right")
    source = message_source(named, state)
    assert until(lambda: source.poll(0.05) == [] and source._connected)
    source.close()
    server.stop()


def test_a_broker_that_is_not_there_is_said(state):
    heard = []
    source = message_source("mqtt://127.0.0.1:1/x", state, notify=heard.append)
    assert until(lambda: source.poll(0.05) == [] and heard)
    assert "cannot be reached; trying again" in heard[0]
    source.close()


def test_addresses_are_shown_without_a_password():
    assert repr(Broker("host", 1, "a", "me", "hush")) == "mqtt://host:1/a"


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_lost_or_repeated(server, tmp_path):
    out, state = tmp_path / "out.jsonl", tmp_path / "state"
    words = (address(server), out, state)
    process = started(*words)
    assert until(lambda: (state / "watch.sqlite").exists())
    time.sleep(1.5)
    process.kill()
    process.wait()
    expected, stop, quiet = set(), threading.Event(), threading.Lock()

    def feed():
        publisher = Publisher(broker_of(address(server, "press/%s")))
        while not stop.wait(0.01):
            with quiet:
                topic = f"press/{len(expected)}"
                try:
                    publisher._broker = broker_of(address(server, topic))
                    publisher.publish([b"[1, 2]"])
                except OSError:
                    continue
                expected.add(topic)
        publisher.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    killed_often(words, out, 3)
    with quiet:
        server.stop()
        server.start()
    killed_often(words, out, 3, seed=1)
    stop.set()
    feeder.join()
    ended = threading.Event()
    done = threading.Thread(target=run, args=(*words, ended))
    done.start()
    assert until(lambda: n_lines(out) >= len(expected))
    time.sleep(0.5)
    ended.set()
    done.join()
    found = items(out)
    assert set(found) == expected
    assert set(found.values()) == {1}
