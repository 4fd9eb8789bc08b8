"""4,000 mutations of model files: each is refused with one sentence, or read as exactly what was saved."""

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter

import numpy as np
import pytest
from problems import kinds, pictures, quick
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from oddkind import CrossConformal, InputError, load
from oddkind.model.bundle import ARRAYS, MANIFEST, digest_of

EACH = 1000  # mutations of each of the four files
STRANGE = (None, True, False, 0, -1, 1, 2, 3, 1e-9, 0.5, 1e308, float("nan"), float("inf"), 2**40, "", "msp", [], {})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By name: the bytes of a file, new samples, and their labels or None."""
    folder = tmp_path_factory.mktemp("models")
    vectors, labels = kinds(80)
    small = pictures(40)[0][:, :, :10, :10].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick(epochs=1).fit(vectors, labels).save(folder / "vectors")
        quick(epochs=1, network="lecture").fit(small).save(folder / "pictures")
        quick(epochs=1, network="lecture").fit(small).save(folder / "graphs", onnx=True)
        CrossConformal(quick(epochs=1), folds=3).fit(vectors, labels).save(folder / "cross")
    of = dict.fromkeys(("vectors", "cross"), (vectors[:5], labels[:5]))
    of |= dict.fromkeys(("pictures", "graphs"), (small[:5], None))
    return {name: ((folder / name).read_bytes(), *samples) for name, samples in of.items()}


def said_by(model, inputs, labels):
    """What a model says of samples: scores, p-values, decisions, with labels and without."""
    for known in (None, labels):
        if known is not None or all(fold.calibration.unlabelled is not None for fold in model.folds):
            yield from (model.anomaly_score(inputs, known), model.p_value(inputs, known), model.decide(inputs, known))
    yield np.array([model.false_alarm_rate])


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(parts):
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def damaged(content, draw, near=None):
    """Flip bits, insert, delete, copy or zero a few bytes, or cut the end off."""
    new = bytearray(content)
    for _ in range(draw.integers(1, 4)):
        at = int(draw.integers(0, max(1, min(len(new), near or len(new)))))
        length = int(draw.integers(1, 9))
        match draw.integers(6):
            case 0 | 1:
                new[at : at + 1] = bytes([new[at] ^ 1 << int(draw.integers(8))]) if at < len(new) else b""
            case 2:
                new[at:at] = draw.bytes(length)
            case 3:
                del new[at : at + length]
            case 4:
                new[at : at + length] = bytes(len(new[at : at + length]))
            case 5 if draw.random() < 0.3:
                del new[at:]
            case _:
                new[at:at] = new[at : at + length]
    return bytes(new)


def of_bytes(content, draw):
    """Damage anywhere, or near the end, where the directory of the zip lies."""
    if draw.random() < 0.5:
        return damaged(content, draw)
    return content[:-250] + damaged(content[-250:], draw)


def of_zip(content, draw):
    """Other members, or other numbers in the headers of the zip."""
    (first, manifest), (second, arrays) = members(content)
    choices = (
        [(first, arrays), (second, manifest)],
        [(second, arrays), (first, manifest)],  # another order: nothing is changed
        [(first, manifest)],
        [(first, manifest), (second, arrays), (second, arrays)],
        [(first, manifest), (first, manifest), (second, arrays)],
        [(first, manifest), (second.upper(), arrays)],
        [("./" + first, manifest), (second, arrays)],
        [(first, manifest), (second, arrays), ("more", b"")],
        [(first, manifest), (second, b"")],
        [(first, manifest), (second, manifest)],
    )
    if draw.random() < 0.2:
        return zipped(choices[draw.integers(len(choices))])
    new = bytearray(content)
    start = new.index(draw.choice([b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]).item())
    at = start + int(draw.integers(4, 30))
    code, size = [("<H", 2), ("<I", 4), ("<B", 1)][draw.integers(3)]
    at = min(at, len(new) - size)
    struct.pack_into(code, new, at, int(draw.choice([0, 1, 8, 255, int(draw.integers(256**size))])) % 256**size)
    return bytes(new)


def with_crc(content, draw):
    """Damage inside a member, whose checksum in the zip is computed again."""
    parts = members(content)
    which = draw.integers(2)
    name, data = parts[which]
    near = 3000 if draw.random() < 0.5 else None  # where arrays have their header
    parts[which] = name, damaged(data, draw, near)
    return zipped(parts)


def with_nan(content, draw):
    """NaN, infinity or another number in an array."""
    (first, manifest), (second, arrays) = members(content)
    new = bytearray(arrays)
    begin = 8 + struct.unpack_from("<Q", new)[0]
    at = begin + 4 * int(draw.integers((len(new) - begin) // 4))
    struct.pack_into("<f", new, at, draw.choice([np.nan, np.inf, 0, 1e30, draw.normal()]))
    return zipped([(first, manifest), (second, bytes(new))])


def places(value):
    """Every dict and list of a structure with its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


def with_facts(content, draw):
    """Another number, text or structure in the manifest."""
    (first, manifest), (second, arrays) = members(content)
    facts = json.loads(manifest)
    found = [*places(facts)]
    inside, key = found[draw.integers(len(found))]
    old = inside[key]
    match draw.integers(6):
        case 0 | 1 if isinstance(old, int | float):
            inside[key] = [old + 1, old - 1, -old, old * 2, old / 3, old + 1e-7][draw.integers(6)]
        case 0 | 1 if isinstance(old, str):
            inside[key] = [old[:-1], old + "a", old.upper(), old[::-1], "mlp", "joint-neighbours"][draw.integers(6)]
        case 2:
            del inside[key]
        case 3:
            other, place = found[draw.integers(len(found))]
            inside[key] = json.loads(json.dumps(other[place]))
        case 4 if isinstance(inside, dict):
            inside[f"{key} too"] = old
        case _:
            inside[key] = STRANGE[draw.integers(len(STRANGE))]
    return zipped([(first, json.dumps(facts, indent=1).encode()), (second, arrays)])


def with_graph(content, draw):
    """Damage in the ONNX graph of a network, at its start or end, where its structure is; NaN if there is none."""
    (first, manifest), (second, arrays) = members(content)
    held = load_arrays(arrays)
    name = next((name for name in held if name.endswith(".onnx")), None)
    if name is None:
        return with_nan(content, draw)
    graph = held[name].tobytes()
    graph = damaged(graph, draw, 6000) if draw.random() < 0.5 else graph[:-6000] + damaged(graph[-6000:], draw)
    held[name] = np.frombuffer(graph, np.uint8)
    return zipped([(first, manifest), (second, save_arrays(held))])


def sealed(content):
    """Compute the digest again, as whoever changes a file on purpose can."""
    parts = dict(members(content))
    found = re.search(rb'"sha256": ?"([0-9a-f]{64})"', parts[MANIFEST])
    if found:
        digest = digest_of(parts[MANIFEST], parts[ARRAYS], found[1].decode())
        parts[MANIFEST] = parts[MANIFEST].replace(found[1], digest.encode(), 1)
    return zipped(parts.items())


# Each with its share.
MUTATIONS = {of_bytes: 0.2, of_zip: 0.1, with_crc: 0.2, with_nan: 0.1, with_facts: 0.2, with_graph: 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vectors", "pictures", "graphs", "cross"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that were changed on purpose
def test_a_mutated_file_is_refused_or_says_the_same(models, tmp_path, name):
    content, inputs, labels = models[name]
    file = tmp_path / "a.oddkind"
    file.write_bytes(content)
    expected = [*said_by(load(file), inputs, labels)]
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    counts = Counter()
    for number in range(EACH):
        mutate = draw.choice([*MUTATIONS], p=[*MUTATIONS.values()])
        mutated = mutate(content, draw)
        on_purpose = mutate in (with_crc, with_nan, with_facts) and draw.random() < 0.3
        on_purpose |= mutate is with_graph
        file.write_bytes(sealed(mutated) if on_purpose else mutated)
        try:
            model = load(file)
            found = [*said_by(model, inputs, labels)]
        except InputError as error:
            assert str(file) in str(error) or on_purpose, (number, error)  # noqa: PT017
            counts["refused", on_purpose] += 1
            continue
        same = len(found) == len(expected) and all(map(np.array_equal, found, expected))
        counts["the same" if same else "other", on_purpose] += 1
        assert all(np.isfinite(one).all() for one in found), (number, mutate)
        assert same or on_purpose, (number, mutate)
    for purpose, what in ((False, "damaged"), (True, "changed on purpose, with a new digest")):
        kinds_of = ", ".join(f"{counts[end, purpose]} {end}" for end in ("refused", "the same", "other"))
        print(f"{name}, {what}: {kinds_of} scores")
    assert counts["refused", False] > EACH / 2
