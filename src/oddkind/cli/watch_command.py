"""The command `watch`: judge what comes in, for as long as it runs."""

from __future__ import annotations

import hashlib
import json as json_format
import os
import signal
import sys
import threading
import urllib.parse
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind.cli.options import Follow, Label, Pattern, Rate, SavedModel
from oddkind.cli.terminal import print_json
from oddkind.errors import InputError, PromiseWarning
from oddkind.naming import on_one_line

if TYPE_CHECKING:
    from oddkind.model.model import FittedModel
    from oddkind.watch.items import Source
    from oddkind.watch.outputs import Output
    from oddkind.watch.state import State

app = typer.Typer()

STDIN = "-"


@app.command()
def watch(
    model: SavedModel,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a CSV file that grows, '-' for raw samples on standard input, or an MQTT topic such as "
            "mqtt://user@host:1883/topic (mqtts:// for TLS).",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(help="File to append JSON lines to, or an MQTT topic; by default they are printed."),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Address to which each line is sent, too, with POST.")] = None,
    webhook_alarms: Annotated[
        bool, typer.Option("--webhook-alarms", help="Send only alarms, drift and errors to the webhook.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(help="Folder that holds what is done; by default one in ~/.local/state/oddkind for each SOURCE."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Judge what is there, and stop; for cron.")] = False,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="At the first start, pass over the files or rows that are there.")
    ] = False,
    hold_off: Annotated[
        str | None, typer.Option(help="After an alarm, no other one of the same label for so long, such as 10min.")
    ] = None,
    settle: Annotated[
        str, typer.Option(help="A file is complete when it has not changed for so long, such as 500ms.")
    ] = "1s",
    false_alarm_rate: Rate = None,
    pattern: Pattern = None,
    label: Label = None,
    stream_label: Annotated[
        str | None, typer.Option(help="The internal label of everything that comes, such as the machine's name.")
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="Length of the parts of a stream or growing table, each judged like a file, such as 10s; by default "
            "the usual length of the files that the model learnt from."
        ),
    ] = None,
    sample_format: Annotated[
        str, typer.Option("--format", help="Of standard input: u8, s16le, s24le, s32le, f32le, f64le, alaw or mulaw.")
    ] = "s16le",
    rate: Annotated[
        int | None, typer.Option(help="Samples per second of standard input; by default that of the model.")
    ] = None,
    channels: Annotated[int, typer.Option(help="Number of channels of standard input.")] = 1,
    mqtt_password_file: Annotated[
        Path | None, typer.Option(help="File with the password; or set ODDKIND_MQTT_PASSWORD.")
    ] = None,
    mqtt_authority: Annotated[
        Path | None, typer.Option(help="Certificates (PEM) to check the broker's with; by default those of the system.")
    ] = None,
    follow: Follow = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary at the end as JSON.")] = False,
) -> None:
    """Judge new files, the parts of a stream or messages as they come, each once, also after a crash or restart.

    Each becomes a JSON line with its score, p-value and decision, evidence of drift and the rate of alarms. SIGTERM and
    Ctrl-C finish what is in hand. Started again, it continues where it stopped.
    """
    from oddkind.files.score import fingerprint
    from oddkind.loading import load
    from oddkind.watch.judge import Judge
    from oddkind.watch.loop import watch as run
    from oddkind.watch.monitor import OF_MODEL, Monitor
    from oddkind.watch.sender import Sender
    from oddkind.watch.state import State, Step

    seconds = {name: _seconds(name, text) for name, text in (("hold-off", hold_off), ("settle", settle))}
    options = {"follow": follow, "pattern": pattern, "label": label}
    stream = {"format": sample_format, "rate": rate, "channels": channels, "block": block}
    _check(source, options, stream, new_only=new_only)
    fitted = load(model)
    if false_alarm_rate is not None:
        fitted = replace(fitted, false_alarm_rate=false_alarm_rate)
    stop = threading.Event()
    with _stopped_by_signals(stop), warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)  # said once, below
        judge = Judge(fitted)
        if stream_label is not None and not judge.knows(stream_label):
            known = ", ".join(map(repr, judge.labels[:20])) or "none"
            raise InputError(f"--stream-label {stream_label!r} was not learnt; known are {known}")
        kept = State(state or _usual_state(source, model))
        try:
            digest = fingerprint(model)
            if kept.fact("model") not in (None, digest):
                _notify("the model is another one than before: evidence of drift and of the rate of alarms begins anew")
                kept.forget("group:", OF_MODEL, observations=True)
            first = kept.fact("state_id") is None
            kept.commit(Step(facts={"model": digest, "state_id": kept.fact("state_id") or uuid.uuid4().hex}))
            outputs = _outputs(out, webhook, kept, stop, webhook_alarms, mqtt_password_file, mqtt_authority)
            for name, n in kept.outputs().items():
                if name not in {output.name for output in outputs}:
                    _notify(f"{n} lines from before wait for {name}; they are sent when it is an output again")
            monitor = Monitor(
                judge, kept, hold_off=seconds["hold-off"], outputs=[(output.name, output.wants) for output in outputs]
            )
            mqtt = {"password_file": mqtt_password_file, "authority": mqtt_authority}
            opened = _Opening(fitted, kept, stop, seconds["settle"], once, new_only and first, stream_label)
            items = opened.source(source, options, stream, mqtt)
            if (problem := judge.promise_problem()) is not None:
                _notify(problem)
            senders = [Sender(output, kept.another(), _notify) for output in outputs]
            shown = out is not None or not sys.stdout.isatty()
            with _progress(shown) as on_item:
                summary = run(items, judge, monitor, kept, senders, stop, on_item)
        finally:
            kept.close()
    _report(summary, json, lines_printed=out is None)


class _Opening:
    """What every source is opened with."""

    def __init__(
        self,
        model: FittedModel,
        state: State,
        stop: threading.Event,
        settle: float,
        once: bool,
        new_only: bool,
        stream_label: str | None,
    ) -> None:
        self.model, self.state, self.stop, self.settle = model, state, stop, settle
        self.once, self.new_only, self.stream_label = once, new_only, stream_label

    def source(self, where: str, listing: dict[str, Any], stream: dict[str, Any], mqtt: dict[str, Any]) -> Source:
        from oddkind.watch.mqtt import is_mqtt

        if is_mqtt(where):
            return self._messages(where, mqtt)
        if where == STDIN:
            return self._pcm(stream)
        path = Path(where)
        if path.is_dir():
            return self._folder(path, listing)
        return self._table(path, stream["block"])

    def remember(self, marks: dict[str, str]) -> None:
        from oddkind.watch.state import Step

        self.state.commit(Step(marks=marks))

    def _folder(self, path: Path, listing: dict[str, Any]) -> Source:
        from oddkind.watch.folder import Folder

        folder = Folder(
            path,
            self.model,
            self.state.marks(),
            settle=self.settle,
            stop=self.stop,
            once=self.once,
            new_only=self.new_only,
            remember=self.remember,
            notify=_notify,
            stream_label=self.stream_label,
            **listing,
        )
        _notify(f"{path} is watched; what is done is kept in {self.state.folder}")
        return folder

    def _table(self, path: Path, block: str | None) -> Source:
        from oddkind.watch.parts import parts_of
        from oddkind.watch.tables import GrowingTable

        parts = parts_of(self.model, block)
        table = GrowingTable(
            path,
            self.model,
            parts,
            self.state.marks(),
            label=self.stream_label,
            notify=_notify,
            once=self.once,
            new_only=self.new_only,
            remember=self.remember,
        )
        _notify(f"{path}: {parts.reason}; what is done is kept in {self.state.folder}")
        return table

    def _pcm(self, stream: dict[str, Any]) -> Source:
        from oddkind.watch.parts import parts_of
        from oddkind.watch.pcm import Pcm

        parts = parts_of(self.model, stream["block"])
        samples = Pcm(
            sys.stdin.fileno(),
            self.model,
            parts,
            sample_format=stream["format"],
            rate=stream["rate"],
            n_channels=stream["channels"],
            label=self.stream_label,
        )
        _notify(f"{samples.described}; {parts.reason}; evidence is kept in {self.state.folder}")
        return samples

    def _messages(self, address: str, mqtt: dict[str, Any]) -> Source:
        from oddkind.watch.messages import Messages
        from oddkind.watch.mqtt import broker_of
        from oddkind.watch.payloads import Payloads
        from oddkind.watch.state import Step

        broker = broker_of(address, mqtt["password_file"], mqtt["authority"])
        client_id = self.state.fact("mqtt_client") or f"oddkind-{uuid.uuid4().hex[:12]}"
        self.state.commit(Step(facts={"mqtt_client": client_id}))
        payloads = Payloads(self.model, self.stream_label)
        messages = Messages(
            broker,
            client_id,
            payloads,
            self.state.marks(),
            forget=self.state.forget,
            notify=_notify,
            idle=2.0 if self.once else None,
        )
        _notify(f"{broker!r} is watched as client {client_id}; what is done is kept in {self.state.folder}")
        return messages


def _check(source: str, listing: dict[str, Any], stream: dict[str, Any], *, new_only: bool) -> None:
    """Refuse a source that cannot be watched, and options that it has no use for."""
    from oddkind.watch.mqtt import is_mqtt

    if new_only and (source == STDIN or is_mqtt(source)):
        raise InputError("--new-only is for folders and tables; a stream or a topic brings only what is new")
    if source == STDIN and sys.stdin.isatty():
        raise InputError(
            "standard input is a terminal; pipe samples to it, such as: arecord -t raw -f S16_LE | oddkind"
        )
    if source != STDIN and not is_mqtt(source) and not os.path.exists(source):
        raise InputError(f"{source}: does not exist; name a folder, a CSV file, '-' or mqtt://host/topic")
    usual = {"format": "s16le", "channels": 1}
    needless = (
        [] if source == STDIN else [name for name in ("format", "rate", "channels") if stream[name] != usual.get(name)]
    )
    if needless:
        raise InputError(f"--{needless[0]} is for standard input, the source '-'; leave it out")
    folder = os.path.isdir(source)
    if stream["block"] is not None and (folder or is_mqtt(source)):
        raise InputError("--block is for standard input and growing tables; leave it out")
    if not folder and (given := [name for name, value in listing.items() if value]):
        raise InputError(f"--{given[0]} is for a folder; leave it out")


def _outputs(
    out: str | None,
    webhook: str | None,
    state: State,
    stop: threading.Event,
    alarms_only: bool,
    password_file: Path | None,
    authority: Path | None,
) -> list[Output]:
    from oddkind.watch.mqtt import broker_of, is_mqtt
    from oddkind.watch.outputs import FileOutput, MqttOutput, StandardOutput, Webhook

    outputs: list[Output] = []
    if out is None:
        outputs.append(StandardOutput(stop.set))
    elif is_mqtt(out):
        outputs.append(MqttOutput(broker_of(out, password_file, authority)))
    else:
        outputs.append(FileOutput(Path(out), state))
    if webhook is not None:
        outputs.append(Webhook(webhook, state.fact("state_id"), alarms_only=alarms_only))
    elif alarms_only:
        raise InputError("--webhook-alarms needs --webhook")
    return outputs


def _usual_state(source: str, model: Path) -> Path:
    """Return the folder for the state of a source and a model, wherever the command is called from."""
    from oddkind.watch.mqtt import is_mqtt

    parts = urllib.parse.urlsplit(source) if is_mqtt(source) else None
    where = f"{parts.hostname}:{parts.port}{parts.path}#{parts.fragment}" if parts else source
    if source != STDIN and parts is None:
        where = os.path.realpath(source)
    digest = hashlib.sha256(f"{where}\n{os.path.realpath(model)}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "oddkind" / f"watch-{model.stem}-{digest}"


def _seconds(option: str, text: str | None) -> float:
    from oddkind.files.durations import seconds_of

    if text is None or text.strip() == "0":
        return 0.0
    try:
        return seconds_of(text)[0]
    except ValueError as error:
        raise InputError(f"--{option} {text!r}: {error}") from error


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or Ctrl-C; a second one ends at once."""

    def handle(number: int, _: Any) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[int], None]]:
    """Show on standard error, if it is a terminal, how many items were judged."""
    from rich.console import Console

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield lambda n_items: None
        return
    with console.status("waiting") as status:
        yield lambda n_items: status.update(f"{n_items} judged")


def _report(summary: dict[str, Any], as_json: bool, *, lines_printed: bool) -> None:
    """Print the summary; after lines on standard output it is one more line, or goes to standard error."""
    if as_json and lines_printed:
        print(json_format.dumps({"summary": summary}, ensure_ascii=False))
    elif as_json:
        print_json(summary)
    else:
        where = sys.stderr if lines_printed else sys.stdout
        for line in _sentences(summary):
            print(on_one_line(line), file=where)


def _sentences(summary: dict[str, Any]) -> Iterator[str]:
    if n := summary["not_in_evidence"]:
        yield (
            f"{n} of them are no evidence about drift or rates: their group was counted before, or their label is "
            "known and that of the first was not, or the other way round."
        )
    low, high = (f"{100 * edge:.3g}" for edge in summary["alarm_rate"])
    yield (
        f"lines: {summary['lines']}; anomalous: {summary['anomalous']}; alarms: {summary['alarms']}; held off: "
        f"{summary['suppressed']}; could not be judged: {summary['errors']}."
    )
    yield f"Between {low} and {high} % of what this model judges here is anomalous (99 %, at any time)."
    drift = "it has reached 100: there is drift" if summary["drift"] else "no drift is shown; 100 would show it"
    yield f"Evidence of drift: {summary['drift_evidence']:g} ({drift})."
    if summary["promise_evidence"] >= 100:
        yield f"Evidence of more alarms than promised: {summary['promise_evidence']:g}."
    for name, n in summary["undelivered"].items():
        yield f"{name}: {n} lines are not delivered; they are kept, and sent when it is started again."
    if summary["left_over"]:
        yield f"Not judged: {summary['left_over']}."


def _notify(message: str) -> None:
    print(on_one_line(f"oddkind: {message}"), file=sys.stderr, flush=True)
