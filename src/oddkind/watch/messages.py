"""An MQTT topic as a source: each message is judged once, and acknowledged when its lines are on the disk."""

from __future__ import annotations

import hashlib
import json
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oddkind.errors import InputError
from oddkind.watch.items import Item
from oddkind.watch.mqtt import SECONDS, Broker, new_client
from oddkind.watch.payloads import Payloads

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

# A broker sends again what was among the last messages; the number of one that was acknowledged long ago is used anew.
MOST_IN_FLIGHT = 2000


class Messages:
    """The messages of an MQTT topic, with quality of service 1 and a session that the broker keeps.

    A message is acknowledged after its lines and its number are on the disk. If the process is killed or the connection
    is lost between the two, the broker sends the message again, marked as a duplicate with the same number, and it is
    recognised by both and by its content.

    Parameters
    ----------
    broker : Broker
    client_id : str
        Identifies the session; the same each time.
    payloads : Payloads
    marks : mapping of str to str
    forget : callable
        Called with the beginning of marks that mean nothing any more.
    notify : callable
        Called with what the user should know.
    idle : float or None
        Seconds without a message after which the source has ended; None: it never does.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        payloads: Payloads,
        marks: dict[str, str],
        *,
        forget: Callable[[str], None],
        notify: Callable[[str], None],
        idle: float | None = None,
    ) -> None:
        self._broker, self._payloads, self._forget, self._notify = broker, payloads, forget, notify
        self._idle, self._heard, self._began = idle, time.monotonic(), time.monotonic()
        self._seen = {key: json.loads(value) for key, value in marks.items() if key.startswith("message:")}
        self._count = max((number for _, number in self._seen.values()), default=0)
        self._queue: queue.SimpleQueue[tuple[int, MQTTMessage]] = queue.SimpleQueue()
        self._connection, self._connected, self._ever, self._complained = 0, False, False, False
        self._sent_again_before = 0  # the broker sends again what came by connections before this one
        self._problem: str | None = None
        self._session_lost = False
        self._in_hand: dict[str, tuple[int, MQTTMessage]] = {}
        self._client: Client = new_client(broker, client_id, persistent=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.connect_async(broker.host, broker.port)
        self._client.loop_start()

    def poll(self, timeout: float) -> list[Item] | None:
        """Return the next message.

        Raises
        ------
        InputError
            If the broker refuses the connection or the topic, or, with `idle`, cannot be reached.
        """
        if self._problem is not None:
            raise InputError(self._problem)
        if self._idle is not None and not self._ever and time.monotonic() - self._began > SECONDS:
            raise InputError(f"{self._broker!r} cannot be reached")
        try:
            connection, message = self._queue.get(timeout=timeout)
        except queue.Empty:
            quiet = self._ever and self._idle is not None and time.monotonic() - self._heard > self._idle
            return None if quiet else []
        self._heard = time.monotonic()
        if self._session_lost:  # the broker counts from the start again
            self._session_lost = False
            self._seen.clear()
            self._forget("message:")
        if connection < self._sent_again_before:
            return []
        key, digest = f"message:{message.mid}", _digest(message)
        known, number = self._seen.get(key, ("", 0))
        if message.qos and message.dup and known == digest and self._count - number <= MOST_IN_FLIGHT:
            self._client.ack(message.mid, message.qos)
            return []
        marks: dict[str, str] = {}
        if message.qos:
            self._count += 1
            self._seen[key] = [digest, self._count]
            marks[key] = json.dumps(self._seen[key])
        item = self._payloads.item(message.topic, bytes(message.payload), marks)
        self._in_hand[key] = connection, message
        return [item]

    def done(self, item: Item) -> None:
        """Acknowledge the message."""
        self._payloads.done(item)
        for key in item.marks:
            if key in self._in_hand:
                connection, message = self._in_hand.pop(key)
                if connection == self._connection:
                    self._client.ack(message.mid, message.qos)

    def left_over(self) -> str | None:
        """Nothing: what was not judged was not acknowledged."""
        return None

    def close(self) -> None:
        """Disconnect; the broker keeps what comes, for the next time."""
        self._client.disconnect()
        self._client.loop_stop()
        self._payloads.close()

    # --- called by the thread of the client ---

    def _on_connect(self, client: Client, _userdata: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._problem = f"{self._broker!r} refuses the connection ({reason})"
            client.disconnect()
            return
        if self._ever or self._complained:
            self._notify(f"{self._broker!r} is connected again")
        self._connected, self._ever, self._complained = True, True, False
        self._heard = time.monotonic()
        if flags.session_present:
            self._sent_again_before = self._connection
        else:  # only now: subscribing again would bring retained messages again
            self._session_lost = True
            client.subscribe(self._broker.topic, qos=1)

    def _on_connect_fail(self, *_: Any) -> None:
        if not self._complained:
            self._notify(f"{self._broker!r} cannot be reached; trying again")
        self._complained = True

    def _on_subscribe(self, client: Client, _userdata: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._problem = f"{self._broker!r} refuses the topic"
            client.disconnect()

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._connection += 1
        if self._connected and reason.is_failure:
            self._notify(f"the connection to {self._broker!r} is lost ({reason}); trying again")
        self._connected = False

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._queue.put((self._connection, message))


def _digest(message: MQTTMessage) -> str:
    return hashlib.sha256(f"{message.topic}\0".encode() + message.payload).hexdigest()[:32]
