import shutil
import subprocess

import pytest
from watching import Mosquitto, needs_mosquitto

from oddkind import InputError
from oddkind.watch.mqtt import Publisher, broker_of, is_mqtt, new_client
from oddkind.watch.outputs import DeliveryError, MqttOutput
from oddkind.watch.state import State, Step


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mqtt://host/topic", ("host", 1883, "topic", None, False)),
        ("mqtts://me@host/a/b", ("host", 8883, "a/b", "me", True)),
        ("mqtt://host:99/a/+/c/#", ("host", 99, "a/+/c/#", None, False)),
        ("MQTT://me%40home@[::1]:99/a%20b", ("::1", 99, "a b", "me@home", False)),
    ],
)
def test_addresses_are_read(address, expected):
    broker = broker_of(address)
    assert (broker.host, broker.port, broker.topic, broker.user, broker.tls) == expected
    assert is_mqtt(address)


@pytest.mark.parametrize("address", ["mqtt://host", "mqtt://host/", "mqtt:///topic", "mqtt://host:port/topic"])
def test_what_is_no_topic_is_refused(address):
    with pytest.raises(InputError, match="host"):
        broker_of(address)


@pytest.mark.parametrize("name", ["folder", "./mqtt", "http://host/x", "mqtt:host"])
def test_other_names_are_no_topics(name):
    assert not is_mqtt(name)


def test_a_password_is_never_in_the_address(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="ODDKIND_MQTT_PASSWORD") as refused:
        broker_of("mqtt://me:hush@host/topic")
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("ODDKIND_MQTT_PASSWORD", "from environment")
    assert broker_of("mqtt://me@host/topic").password == "from environment"  # noqa: S105
    file = tmp_path / "password"
    file.write_text("from file\n")
    broker = broker_of("mqtt://me@host/topic", file)
    assert broker.password == "from file"  # noqa: S105
    assert "from file" not in repr(broker)
    with pytest.raises(InputError, match="cannot be read"):
        broker_of("mqtt://me@host/topic", tmp_path / "none")


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    broker = broker_of("mqtts://host/topic", authority=tmp_path / "none.pem")
    with pytest.raises(InputError, match=r"none\.pem: the certificates cannot be read"):
        new_client(broker, "", persistent=False)


def test_a_broker_that_is_not_there_is_an_error():
    publisher = Publisher(broker_of("mqtt://127.0.0.1:1/topic"))
    with pytest.raises(OSError, match=r"refused|Errno"):
        publisher.publish([b"x"])
    publisher.close()


@needs_mosquitto
def test_lines_that_a_broker_does_not_take_are_kept(tmp_path):
    server, state = Mosquitto(tmp_path), State(tmp_path / "state")
    output = MqttOutput(broker_of(f"mqtt://127.0.0.1:{server.port}/lines"))
    state.commit(Step(lines=[(number, [output.name], "x") for number in (1, 2)]))
    server.stop()
    with pytest.raises(DeliveryError):
        output.deliver(state.undelivered(output.name), state)
    assert state.n_undelivered(output.name) == 2
    server.start()
    output.deliver(state.undelivered(output.name), state)
    assert state.n_undelivered(output.name) == 0
    output.close()
    state.close()
    server.stop()


@needs_mosquitto
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho does not close the socket
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_with_tls_the_broker_is_who_its_certificate_says(tmp_path):
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", *words.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    key.chmod(0o644)
    server = Mosquitto(tmp_path, f"certfile {certificate}", f"keyfile {key}")
    address = f"mqtts://127.0.0.1:{server.port}/topic"
    publisher = Publisher(broker_of(address, authority=certificate))
    publisher.publish([b"x"])
    publisher.close()
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        Publisher(broker_of(address)).publish([b"x"])
    server.stop()
