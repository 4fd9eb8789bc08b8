"""Samples of each kind, and files of saved models, taken apart and put together again."""

import io
import json
import re
import zipfile

import numpy as np
from problems import kinds, pictures, signals
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from oddkind.model.bundle import ARRAYS, MANIFEST, digest_of

VECTORS, KINDS = kinds(120)
DATA = {
    "vectors": (VECTORS, KINDS),
    "pictures": (pictures(60)[0], np.arange(60) % 2),
    "float pictures": (pictures(60)[0] / 255, np.arange(60) % 2),
    "large pictures": (pictures(60)[0].repeat(2, 2).repeat(2, 3), np.arange(60) % 2),
    "signals": (signals(60), np.arange(60) % 2),
}


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def sealed(manifest, arrays):
    """The file with these members, and their digest, if the manifest still has a place for it."""
    manifest = manifest if isinstance(manifest, bytes) else manifest.encode()
    found = re.search(rb'"sha256": ?"([0-9a-f]{64})"', manifest)
    if found:
        digest = digest_of(manifest, arrays, found[1].decode())
        manifest = manifest.replace(found[1], digest.encode(), 1)
    return zipped({MANIFEST: manifest, ARRAYS: arrays})


def manifest_of(content):
    return json.loads(members(content)[MANIFEST])


def arrays_of(content):
    return load_arrays(members(content)[ARRAYS])


def changed(content, fold=None, **fields):
    """The file with other fields in its manifest, and in its first fold; `...` takes one away."""
    facts = manifest_of(content) | fields
    if fold:
        facts["folds"][0] = {k: v for k, v in (facts["folds"][0] | fold).items() if v is not ...}
    facts = {name: value for name, value in facts.items() if value is not ...}
    return sealed(json.dumps(facts), members(content)[ARRAYS])


def with_content(content, arrays):
    """The file with other bytes for its arrays, and the digest of those."""
    return sealed(members(content)[MANIFEST], arrays)


def with_arrays(content, changes):
    """The file with other arrays, and their digest; `...` takes one away."""
    arrays = {name: array for name, array in (arrays_of(content) | changes).items() if array is not ...}
    return with_content(content, save_arrays({name: np.asarray(array, order="C") for name, array in arrays.items()}))
