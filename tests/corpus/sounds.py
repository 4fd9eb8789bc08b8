"""Sounds."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from edfio import Bdf, BdfSignal, Edf, EdfSignal
from nptdms import ChannelObject, TdmsWriter

from corpus.forms import ANY, EMPTY, HTML, NOISE, RATE, TEXT, ZEROS, Draw, cut_off, form, of_bytes, patched


def sound(draw: Draw, seconds: float = 1.2, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """A tone in noise, [T, C]."""
    time = np.arange(round(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * draw.uniform(100, 400) * time)
    return 0.3 * tone[:, None] + 0.05 * draw.normal(size=(len(time), channels))


def wav(draw: Draw, subtype: str = "PCM_16", channels: int = 1, **of) -> bytes:
    """A WAV file."""
    return encoded(draw, "WAV", subtype, channels, **of)


def encoded(draw: Draw, kind: str, subtype: str | None = None, channels: int = 1, rate: int = RATE, **of) -> bytes:
    """A recording in any format of libsndfile."""
    stream = io.BytesIO()
    soundfile.write(stream, sound(draw, channels=channels, rate=rate, **of), rate, subtype, format=kind)
    return stream.getvalue()


def values_wav(make: Callable[[Draw], np.ndarray], subtype: str = "PCM_16") -> Callable[[Path, Draw], None]:
    """Write given samples."""
    return lambda file, draw: soundfile.write(file, make(draw), RATE, subtype, format="WAV")


def _add() -> None:
    add = partial(form, "sounds")
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"):
        add(f"WAV {subtype}", ".wav", of_bytes(partial(wav, subtype=subtype)))
    add("WAV GSM610", ".wav", of_bytes(partial(wav, subtype="GSM610")))
    for subtype in ("PCM_16", "PCM_24", "FLOAT"):
        add(f"WAV stereo {subtype}", ".wav", of_bytes(partial(wav, subtype=subtype, channels=2)))
    add("WAV of five channels", ".WAV", of_bytes(partial(wav, channels=5)))
    for suffix, kind, subtype in (
        (".flac", "FLAC", "PCM_16"),
        (".flac", "FLAC", "PCM_24"),
        (".oga", "FLAC", "PCM_S8"),
        (".aif", "AIFF", "PCM_16"),
        (".aiff", "AIFF", "PCM_24"),
        (".aifc", "AIFF", "FLOAT"),
        (".au", "AU", "PCM_16"),
        (".au", "AU", "ULAW"),
        (".caf", "CAF", "PCM_16"),
        (".caf", "CAF", "ALAC_16"),
        (".w64", "W64", "PCM_16"),
        (".rf64", "RF64", "PCM_16"),
        (".wav", "WAVEX", "PCM_24"),
        (".wav", "RF64", "FLOAT"),
        # Content under another suffix.
        (".wav", "FLAC", "PCM_16"),
        (".ogg", "WAV", "PCM_16"),
        (".m4a", "WAV", "PCM_16"),
        (".aac", "AIFF", "PCM_16"),
        (".wma", "W64", "PCM_24"),
    ):
        add(f"{kind} {subtype} as {suffix}", suffix, of_bytes(partial(encoded, kind=kind, subtype=subtype)))
    for suffix, kind, subtype, rate in (
        (".ogg", "OGG", "VORBIS", 8000),
        (".opus", "OGG", "OPUS", 8000),
        (".mp3", "MP3", "MPEG_LAYER_III", 8000),
        (".wav", "MP3", "MPEG_LAYER_III", 16000),
        (".oga", "OGG", "VORBIS", 44100),
    ):
        write = of_bytes(partial(encoded, kind=kind, subtype=subtype, rate=rate))
        add(f"{kind} {subtype} at {rate} Hz as {suffix}", suffix, write)

    def any_rate(draw: Draw) -> bytes:
        return wav(draw, rate=int(draw.choice([1000, 2000, 11025])))

    add("WAV at several rates", ".wav", of_bytes(any_rate))
    add("WAV shorter than a second", ".wav", values_wav(lambda draw: sound(draw, 0.9)))  # padded
    add("WAV silent", ".wav", values_wav(lambda draw: np.zeros(RATE + int(draw.integers(RATE // 2)))))
    add("WAV constant", ".wav", values_wav(lambda draw: np.full(RATE, draw.uniform(0.1, 0.9))))
    antiphase = values_wav(lambda draw: sound(draw) * [1, -1])
    add("WAV whose channels cancel each other", ".wav", antiphase)
    add("WAV FLOAT far beyond full scale", ".wav", values_wav(lambda draw: 1e6 * sound(draw), "FLOAT"))
    add("WAV FLOAT of tiny values", ".wav", values_wav(lambda draw: 1e-30 * sound(draw), "FLOAT"))
    add("WAV DOUBLE beyond float32", ".wav", values_wav(lambda draw: 1e300 * sound(draw), "DOUBLE"), "infinite")
    add(
        "WAV FLOAT near the largest float32",
        ".wav",
        values_wav(lambda draw: 1e38 * sound(draw), "FLOAT"),
        "beyond ±1e+12",
    )
    add("WAV FLOAT with NaN", ".wav", values_wav(_with_nan, "FLOAT"), "NaN")
    add("WAV FLOAT with infinity", ".wav", values_wav(lambda draw: _with_nan(draw, np.inf), "FLOAT"), "infinite")
    # Lies of headers.
    for name, change, refused in (
        ("header only", lambda content: content[:44], "is incomplete"),
        ("header only, without samples", lambda content: patched(content[:44], 40, 0), "has no samples"),
        ("half a header", lambda content: content[:20], "not a recording"),
        ("cut off in the samples", lambda content: content[:3000], "is incomplete"),
        ("cut off by one byte", lambda content: content[:-1], ""),
        ("both sizes 0", lambda content: patched(patched(content, 4, 0), 40, 0), ""),
        ("both sizes 0xFFFFFFFF", lambda content: patched(patched(content, 4, 2**32 - 1), 40, 2**32 - 1), ""),
        ("size of samples one too large", lambda content: patched(content, 40, len(content) - 43), ""),
        ("size of samples one too small", lambda content: patched(content, 40, len(content) - 45), ""),
        ("size of samples far too large", lambda content: patched(content, 40, 10 * len(content)), "is incomplete"),
        ("RIFF size one too large", lambda content: patched(content, 4, len(content) - 7), ""),
        ("RIFF size 0", lambda content: patched(content, 4, 0), ""),
        ("a chunk before the samples", lambda c: c[:36] + b"LIST\x05\0\0\0abcde\0" + c[36:], ""),
        ("a chunk behind the samples", lambda content: content + b"LIST\x04\0\0\0abcd", ""),
        ("a chunk of absurd size before the samples", lambda c: c[:36] + b"LIST\xf0\xff\xff\x7fabcd" + c[36:], "not"),
        ("no format", lambda content: content[:12] + content[36:], "not a recording"),
        ("no samples chunk", lambda content: content[:36] + b"junk" + content[40:], "not a recording"),
        ("0 channels", lambda content: patched(content, 22, 0, "<H"), "not a recording"),
        ("65535 channels", lambda content: patched(content, 22, 65535, "<H"), "not a recording"),
        ("0 bits", lambda content: patched(content, 34, 0, "<H"), "not a recording"),
        ("a rate of 0", lambda content: patched(content, 24, 0), "not a recording"),
        ("a rate of 1", lambda content: patched(content, 24, 1), "too short for a spectrum"),
        ("a rate of 4 GHz", lambda content: patched(content, 24, 4_000_000_000), "not a recording"),
        ("an unknown format", lambda content: patched(content, 20, 0x1234, "<H"), "not a recording"),
    ):
        write = of_bytes(lambda draw, change=change: change(wav(draw)))
        add(f"WAV, {name}", ".wav", write, refused)
    add("FLAC cut off", ".flac", of_bytes(lambda draw: encoded(draw, "FLAC")[:-900]), "cannot be read beyond")
    cut = of_bytes(lambda draw: encoded(draw, "FLAC")[:30])
    add("FLAC, half a header", ".flac", cut, "not a recording")
    cut = of_bytes(lambda draw: encoded(draw, "MP3", rate=8000)[:-1000])
    add("MP3 cut off", ".mp3", cut, "is incomplete")
    cut = of_bytes(lambda draw: encoded(draw, "OGG", rate=8000)[:2000])
    add("OGG cut off in its header", ".ogg", cut, "not a recording")
    cut = of_bytes(lambda draw: encoded(draw, "AIFF")[:2000])
    add("AIFF cut off", ".aiff", cut, "is incomplete")
    for suffix, head, name in (
        (".m4a", b"\0\0\0 ftypM4A ", "MP4"),
        (".aac", b"\xff\xf1", "AAC"),
        (".wma", b"0&\xb2u", ""),
    ):
        other = of_bytes(lambda draw, head=head: head + draw.bytes(300))
        add(f"{name or 'WMA'} as {suffix}", suffix, other, "ffmpeg")
    for suffix, write in ((".tdms", tdms), (".edf", edf), (".bdf", edf)):
        add(suffix, suffix, write)
        add(f"{suffix} cut off", suffix, cut_off(write), ANY)
        add(f"noise as {suffix}", suffix, NOISE, ANY)
        add(f"HTML as {suffix}", suffix, HTML, ANY)
    for name, write, refused in (
        ("empty", EMPTY, "is empty"),
        ("noise", NOISE, "not a recording"),
        ("text", TEXT, "not a recording"),
        ("HTML", HTML, "not a recording"),
        ("zeros", ZEROS, "not a recording"),
    ):
        add(f"{name} as .wav", ".wav", write, refused)
        add(f"{name} as .mp3", ".mp3", write, refused)


def tdms(file: Path, draw: Draw) -> None:
    """Write a file of LabVIEW."""
    with TdmsWriter(file) as writer:
        writer.write_segment([ChannelObject("rig", "end", sound(draw)[:, 0], {"wf_increment": 1 / RATE})])


def edf(file: Path, draw: Draw) -> None:
    """Write a file of EDF, or of BDF by its suffix."""
    whole, signal = (Bdf, BdfSignal) if file.suffix == ".bdf" else (Edf, EdfSignal)
    whole([signal(sound(draw, seconds=2)[:, 0], RATE, physical_range=(-2, 2))]).write(file)


def _with_nan(draw: Draw, value: float = np.nan) -> np.ndarray:
    values = sound(draw)
    values[700] = value
    return values


_add()
