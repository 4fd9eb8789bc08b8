"""Raw samples on standard input, as `arecord` and `ffmpeg` write them, as a source."""

from __future__ import annotations

import os
import queue
import shutil
import struct
import tempfile
import threading
from pathlib import Path

from oddkind.errors import InputError
from oddkind.files.durations import clock, in_words
from oddkind.files.listing import Entry
from oddkind.files.score import settings_of
from oddkind.model.model import FittedModel
from oddkind.watch.items import Item
from oddkind.watch.parts import Parts

# Bytes of a sample, and its format in a WAV file: 1 whole numbers, 3 floating point, 6 and 7 the laws of telephony.
FORMATS = {
    "u8": (1, 1),
    "s16le": (2, 1),
    "s24le": (3, 1),
    "s32le": (4, 1),
    "f32le": (4, 3),
    "f64le": (8, 3),
    "alaw": (1, 6),
    "mulaw": (1, 7),
}
# The names that arecord has for them.
ALIASES = {"s243le": "s24le", "floatle": "f32le", "float64le": "f64le", "cd": "s16le"}
READ, AHEAD = 1 << 16, 256  # bytes at once, and how many of these are held


class Pcm:
    """Parts of a stream of raw samples.

    Parameters
    ----------
    stream : int
        A file descriptor.
    model : FittedModel
        It must have learnt from sounds.
    parts : Parts
    sample_format : str
        A key of `FORMATS`, or arecord's name for it.
    rate : int or None
        Samples per second; None: that of the model. At another rate each part is resampled, as files are.
    n_channels : int
    label : str or None
        The internal label of all parts.

    Raises
    ------
    InputError
        If the model learnt from something else, or an option cannot be used.
    """

    def __init__(
        self,
        stream: int,
        model: FittedModel,
        parts: Parts,
        *,
        sample_format: str,
        rate: int | None,
        n_channels: int,
        label: str | None,
    ) -> None:
        settings = settings_of(model)
        if settings.kind != "sounds":
            raise InputError(f"raw samples are sound; the model learnt from {settings.kind}")
        short = sample_format.lower().replace("_", "")
        self._format = ALIASES.get(short, short)
        if self._format not in FORMATS:
            raise InputError(f"--format {sample_format!r}; it must be one of {', '.join(FORMATS)}")
        if n_channels < 1 or (rate is not None and rate < 1):
            raise InputError("--rate and --channels must be at least 1")
        self._rate, self._n_channels, self._label = rate or int(settings.rate), n_channels, label
        self._frame = FORMATS[self._format][0] * n_channels
        scale = self._rate / settings.rate
        self._length, self._step = round(parts.length * scale), max(1, round(parts.step * scale))
        self._folder = Path(tempfile.mkdtemp(prefix="oddkind-watch-"))
        self._buffer, self._start, self._ended = bytearray(), 0, False
        self._chunks: queue.Queue[bytes] = queue.Queue(AHEAD)
        # A thread, because a read cannot be interrupted on every system; it ends with the process.
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    @property
    def described(self) -> str:
        """What is read, in words."""
        channels = "1 channel" if self._n_channels == 1 else f"{self._n_channels} channels"
        return f"standard input is read as {self._format}, {self._rate} Hz, {channels}"

    def poll(self, timeout: float) -> list[Item] | None:
        """Return the next part."""
        while len(self._buffer) < max(self._length, self._step) * self._frame:
            if self._ended:
                return None
            try:
                chunk = self._chunks.get(timeout=timeout)
            except queue.Empty:
                return []
            self._ended = not chunk
            self._buffer += chunk
        content = bytes(self._buffer[: self._length * self._frame])
        begin, end = self._start / self._rate, (self._start + self._length) / self._rate
        del self._buffer[: self._step * self._frame]
        file = self._folder / f"{self._start}.wav"
        self._start += self._step
        file.write_bytes(self._header(len(content)) + content)
        name = f"stdin, {clock(begin)}–{clock(end)}"
        return [Item(name, entries=[Entry(file, name, self._label)], label=self._label)]

    def done(self, item: Item) -> None:
        """Remove its file."""
        item.entries[0].path.unlink(missing_ok=True)

    def left_over(self) -> str | None:
        """Say how much was too short for a part."""
        overlap = max(0, self._length - self._step) if self._start else 0
        rest = len(self._buffer) // self._frame - overlap
        return f"the last {in_words(round(rest / self._rate, 3))} of standard input" if rest > 0 else None

    def close(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, stream: int) -> None:
        while chunk := os.read(stream, READ):
            self._chunks.put(chunk)
        self._chunks.put(b"")

    def _header(self, n_bytes: int) -> bytes:
        """Return the header of a WAV file."""
        width, tag = FORMATS[self._format]
        fields = (16, tag, self._n_channels, self._rate, self._rate * self._frame, self._frame, 8 * width)
        head = b"WAVE" + b"fmt " + struct.pack("<IHHIIHH", *fields) + b"data" + struct.pack("<I", n_bytes)
        return b"RIFF" + struct.pack("<I", len(head) + n_bytes) + head
