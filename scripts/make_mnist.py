"""Make src/oddkind/data/mnist.npz from the four original gzipped IDX files of MNIST.

    python scripts/make_mnist.py ../shared/data/mnist

Prints the SHA-256 that `oddkind.load_mnist` checks whenever it reads the file.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oddkind.lab.mnist import MNIST_FILE


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read the array in an IDX file: big-endian magic 0x00 0x00 0x08 (uint8) and rank, then the sizes."""
    content = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack(">HBB", content[:4])
    if (zero, kind) != (0, 8):
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def main(folder: Path) -> None:
    """Write the archive and print its digest."""
    arrays = {
        f"{split}_{what}": read_idx(folder / f"{prefix}-{what}-idx{rank}-ubyte.gz")
        for split, prefix in (("train", "train"), ("test", "t10k"))
        for what, rank in (("images", 3), ("labels", 1))
    }
    np.savez_compressed(MNIST_FILE, allow_pickle=False, **arrays)
    print(f"{MNIST_FILE}: MNIST_SHA256 = {hashlib.sha256(MNIST_FILE.read_bytes()).hexdigest()!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
