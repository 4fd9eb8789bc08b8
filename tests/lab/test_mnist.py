import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from oddkind import InputError, load_mnist
from oddkind.lab.mnist import MNIST_FILE

ORIGINAL = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def test_mnist_has_the_counts_of_its_makers(mnist):
    train, test = mnist
    assert len(train) == 24_754
    assert len(test) == 7_168
    for part in mnist:
        assert part.inputs.dtype == np.uint8
        assert part.inputs.shape == (len(part), 1, 28, 28)
        assert (part.inputs.min(), part.inputs.max()) == (0, 255)
    assert (train.name, test.name) == ("MNIST train", "MNIST test")


def test_training_never_sees_an_anomalous_digit_and_the_test_says_which_are(mnist):
    train, test = mnist
    assert np.unique(train.labels).tolist() == [0, 1, 2, 3]
    assert not train.anomalous.any()
    assert np.unique(test.labels[~test.anomalous]).tolist() == [0, 1, 2, 3]
    assert np.unique(test.labels[test.anomalous]).tolist() == [7, 8, 9]


def test_the_digits_are_parameters():
    train, test = load_mnist(normal=[4, 9], anomalous=[0])
    assert set(train.labels) == {4, 9}
    assert set(test.labels) == {0, 4, 9}
    assert_array_equal(test.anomalous, test.labels == 0)


@pytest.mark.parametrize(("part", "prefix"), [(0, "train"), (1, "t10k")])
def test_pixels_and_labels_are_the_original_files(mnist, part, prefix):
    if not ORIGINAL.is_dir():
        pytest.skip(f"the original IDX files are not at {ORIGINAL}")
    pixels = np.frombuffer(
        gzip.decompress((ORIGINAL / f"{prefix}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    )
    labels = np.frombuffer(
        gzip.decompress((ORIGINAL / f"{prefix}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
    )
    wanted = np.isin(labels, np.unique(mnist[part].labels))
    assert_array_equal(mnist[part].labels, labels[wanted])
    assert_array_equal(mnist[part].inputs[:, 0], pixels.reshape(-1, 28, 28)[wanted])


@pytest.mark.parametrize(
    ("normal", "anomalous", "message"),
    [
        ([0, 1, 2], [2, 3], "digit 2 is named twice"),
        ([0, 1, 1], [7], "digit 1 is named twice"),
        ([0, 1], [7, 7], "digit 7 is named twice"),
        ([], [7], r"normal digits \[\]: a classifier needs at least 2"),
        ([3], [7], r"normal digits \[3\]: a classifier needs at least 2"),
        ([0, 1], [], "no anomalous digits; at least 1"),
        ([0, 10], [7], "unknown digit 10; digits are 0 to 9"),
        ([0, 1], [-1], "unknown digit -1"),
        ([0, 1.5], [7], r"unknown digit 1\.5"),
        ([0, "1"], [7], "unknown digit '1'"),
    ],
)
def test_impossible_digits_are_refused(normal, anomalous, message):
    with pytest.raises(InputError, match=message):
        load_mnist(normal, anomalous)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    content = bytearray(MNIST_FILE.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    file = tmp_path / "mnist.npz"
    file.write_bytes({"flipped": content, "truncated": content[:-1], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"mnist\.npz: damaged \(SHA-256 .*reinstall oddkind"):
        load_mnist(file=file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.npz: cannot be read \(No such file"):
        load_mnist(file=tmp_path / "nowhere.npz")
    with pytest.raises(InputError, match="cannot be read"):
        load_mnist(file=tmp_path)
