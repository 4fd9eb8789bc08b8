"""Connections to an MQTT broker (paho-mqtt)."""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddkind.errors import InputError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

SCHEMES = {"mqtt": 1883, "mqtts": 8883}
PASSWORD = "ODDKIND_MQTT_PASSWORD"  # noqa: S105 - the name of a variable
SECONDS = 10  # to wait for a connection or an acknowledgement
LONGEST_WAIT = 30  # seconds between two attempts to connect
MISSING = "needs the package paho-mqtt; install it with: pip install 'oddkind[watch]'"


@dataclass(frozen=True)
class Broker:
    """A topic of an MQTT broker.

    Attributes
    ----------
    host, port, topic : str, int, str
    user : str or None
    password : str or None
    authority : Path or None
        Certificates (PEM) that the broker's is checked against; None: those of the system.
    tls : bool
    """

    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = None
    authority: Path | None = None
    tls: bool = False

    def __repr__(self) -> str:
        """Show it as a user would write it, without the password."""
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}/{self.topic}"


def is_mqtt(text: str) -> bool:
    """Return whether a text is the address of an MQTT topic."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def broker_of(address: str, password_file: Path | None = None, authority: Path | None = None) -> Broker:
    """Read `mqtt://[user@]host[:port]/topic`, or `mqtts://` for TLS.

    The password is the first line of `password_file`, or the environment variable `ODDKIND_MQTT_PASSWORD`.

    Raises
    ------
    InputError
        If it is no such address, or holds a password, which every user of the machine could read.
    """
    form = "mqtt://[user@]host[:port]/topic"
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise InputError(f"the address of an MQTT topic must be {form} ({error})") from error
    if parts.password is not None:
        raise InputError(
            f"a password in the address can be read by every user of this machine; put it in the environment variable "
            f"{PASSWORD}, or in a file that --mqtt-password-file names"
        )
    topic = urllib.parse.unquote(parts.path.removeprefix("/") + (f"#{parts.fragment}" if "#" in address else ""))
    if not parts.hostname or not topic:
        raise InputError(f"{address}: the address of an MQTT topic must be {form}")
    scheme = parts.scheme.lower()
    user = None if parts.username is None else urllib.parse.unquote(parts.username)
    return Broker(
        parts.hostname,
        port or SCHEMES[scheme],
        topic,
        user,
        _password(password_file),
        authority,
        scheme == "mqtts",
    )


def _password(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(PASSWORD)
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].removesuffix("\r")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: the password cannot be read ({error})") from error


def new_client(broker: Broker, client_id: str, *, persistent: bool) -> Client:
    """Return a client that is not connected yet; with a persistent session it acknowledges messages only when told to.

    Raises
    ------
    InputError
        If paho-mqtt is not installed, or the certificates cannot be read.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise InputError(f"MQTT {MISSING}") from error
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=not persistent, manual_ack=persistent
    )
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        try:
            authority = None if broker.authority is None else os.fspath(broker.authority)
            client.tls_set(ca_certs=authority, cert_reqs=ssl.CERT_REQUIRED)
        except (OSError, ValueError) as error:
            raise InputError(f"{broker.authority}: the certificates cannot be read ({error})") from error
    client.reconnect_delay_set(1, LONGEST_WAIT)
    return client


class Publisher:
    """Publishes to a topic, and waits until the broker has acknowledged it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client: Client | None = None
        new_client(broker, "", persistent=False)  # what is missing is said at once

    def publish(self, payloads: list[bytes]) -> None:
        """Publish messages, in order.

        Raises
        ------
        OSError
            If the broker does not acknowledge all of them in time; some may have arrived.
        """
        try:
            client = self._connected()
            sent = [client.publish(self._broker.topic, payload, qos=1) for payload in payloads]
            for message in sent:
                message.wait_for_publish(SECONDS)
                if not message.is_published():
                    raise TimeoutError("the broker does not acknowledge")
        except (RuntimeError, ValueError, OSError) as error:
            self.close()  # so that nothing that is queued is sent as well as sent again
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _connected(self) -> Client:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        client = new_client(self._broker, "", persistent=False)
        answered, answers = threading.Event(), list[Any]()

        def on_connect(_client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            answers.append(reason)
            answered.set()

        client.on_connect = on_connect
        client.connect(self._broker.host, self._broker.port)
        client.loop_start()
        self._client = client
        if not answered.wait(SECONDS):
            raise TimeoutError("the broker does not answer")
        if answers[0].is_failure:
            raise OSError(f"the broker refuses the connection ({answers[0]})")
        deadline = time.monotonic() + 1
        while not client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.01)
        return client
