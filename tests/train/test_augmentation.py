import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from oddkind.train.augmentation import mixed, shifted, warped


def test_shifted_moves_samples_and_repeats_the_border():
    x = torch.arange(12).view(1, 1, 3, 4)
    down = shifted(x, torch.tensor([[1, 0]]))
    left = shifted(x, torch.tensor([[0, -2]]))
    assert down[0, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert left[0, 0].tolist() == [[2, 3, 3, 3], [6, 7, 7, 7], [10, 11, 11, 11]]
    wave = torch.arange(5).view(1, 1, 5)
    assert shifted(wave, torch.tensor([[2]]))[0, 0].tolist() == [0, 0, 0, 1, 2]
    vector = torch.rand(3, 5)
    assert shifted(vector, torch.zeros(3, 0, dtype=torch.int64)) is vector


def test_each_sample_and_channel_is_moved_as_told():
    x = torch.randint(256, (9, 3, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moves = np.random.default_rng(0).integers(-3, 4, (9, 2))
    found = shifted(x, torch.from_numpy(moves)).numpy()
    for one, (down, right), expected in zip(found, moves, x.numpy(), strict=True):
        padded = np.pad(expected, ((0, 0), (3, 3), (3, 3)), "edge")
        assert_array_equal(one, padded[:, 3 - down : 11 - down, 3 - right : 13 - right])


def test_warped_stretches_and_moves_and_leaves_zeros_beyond_the_border():
    x = torch.rand(1, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    assert_allclose(warped(x, torch.zeros(1, 4)), x, atol=1e-6)
    up, left = (
        warped(x, torch.tensor([[0, 0, 2 / 8, 0]])),
        warped(x, torch.tensor([[0, 0, 0, 4 / 10]])),
    )
    assert_allclose(up, np.pad(x[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0))), atol=1e-5)
    assert_allclose(left, np.pad(x[..., 2:], ((0, 0), (0, 0), (0, 0), (0, 2))), atol=1e-5)
    ramp = torch.arange(10.0).expand(1, 1, 8, 10)
    wide = warped(ramp, torch.tensor([[0.0, np.log(0.5), 0, 0]], dtype=torch.float32))
    assert_allclose(wide[0, 0], (4.5 + (np.arange(10) - 4.5) / 2) * np.ones((8, 1)), atol=1e-5)
    uint8 = torch.randint(256, (1, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert_allclose(warped(uint8, torch.zeros(1, 4)), uint8 / 255, atol=1e-6)


def test_a_warped_picture_is_the_same_whatever_is_warped_with_it():
    draw = torch.Generator().manual_seed(0)
    x, warps = torch.rand(37, 1, 40, 32, generator=draw), torch.rand(37, 4, generator=draw) - 0.5
    together = warped(x, warps)
    for row in range(37):
        assert_array_equal(warped(x[row : row + 1], warps[row : row + 1])[0], together[row])


def test_bytes_are_mixed_as_networks_read_them():
    x, other = torch.tensor([[255], [0]], dtype=torch.uint8), torch.tensor([[0], [255]], dtype=torch.uint8)
    assert_allclose(mixed(x, other, torch.tensor([0.25, 1.0])), [[0.25], [0]])
