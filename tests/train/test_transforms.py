import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import InputError
from oddkind.model.task import Task
from oddkind.train.planted import Defects, Pastes
from oddkind.train.transforms import (
    TASKS,
    TRANSFORMS,
    Affine,
    Bands,
    HadamardMaps,
    Identity,
    Permutations,
    Reversals,
    Rotations,
    Speeds,
    indistinguishable_views,
    make_task,
    show_surfaces,
)

SHAPES = {"affine": (5,), "pastes": (1, 9, 8), "defects": (1, 9, 8), "rotations": (1, 6, 6)}
SHAPES |= dict.fromkeys(("reversals", "speeds", "bands", "permutations"), (2, 9))


def made(name, shape=(5,), labels=None, seed=0):
    """Task and transform."""
    return make_task(name, shape, labels, np.random.RandomState(seed))[:2]


def task(*given, **more):
    return made(*given, **more)[0]


def transform_of(*given, **more):
    return made(*given, **more)[1]


def test_rotations_turn_counter_clockwise():
    views = Rotations()(torch.tensor([[[[1, 2], [3, 4]]]]))
    assert views[0, :, 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


@given(st.integers(1, 3), st.integers(1, 7))
def test_turning_view_v_once_more_gives_view_v_plus_1_and_four_turns_change_nothing(channels, size):
    x = torch.arange(2 * channels * size * size).view(2, channels, size, size)
    views = Rotations()(x)
    assert views.shape == (2, 4, channels, size, size)
    assert torch.equal(views[:, 0], x)
    for v in range(4):
        assert torch.equal(torch.rot90(views[:, v], 1, (-2, -1)), views[:, (v + 1) % 4])


def test_reversals_play_backwards():
    assert Reversals()(torch.tensor([[[1, 2, 3], [4, 5, 6]]])).tolist() == [
        [[[1, 2, 3], [4, 5, 6]], [[3, 2, 1], [6, 5, 4]]]
    ]


@pytest.mark.parametrize("length", [1, 2, 50, 51])
def test_speeds_stretch_a_signal_about_its_middle_and_reflect_what_lies_beyond(length):
    ramp = torch.arange(length)[None, None] - (length - 1) / 2
    as_it_is, faster, slower = Speeds()(ramp)[0]
    assert torch.equal(as_it_is, ramp[0])
    inside = (1.25 * ramp[0]).abs() <= (length - 1) / 2
    torch.testing.assert_close(faster[inside], 1.25 * ramp[0][inside])
    torch.testing.assert_close(slower, 0.8 * ramp[0])
    beyond = (length - 1) * ramp[0].sign() - 1.25 * ramp[0]
    torch.testing.assert_close(faster[~inside], beyond[~inside])


def test_a_faster_tone_is_higher():
    time = torch.arange(800) / 800 - 0.5
    tone = torch.cos(2 * torch.pi * 20 * time)[None, None]
    peaks = torch.fft.rfft(Speeds()(tone)[0, :, 0]).abs().argmax(1)
    assert peaks.tolist() == [20, 25, 16]


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 9))
def test_what_bands_take_out_adds_up_to_the_signal_but_its_mean(channels, length, seed):
    x = torch.randn(3, channels, length, generator=torch.Generator().manual_seed(seed))
    views = Bands()(x)
    assert torch.equal(views[:, 0], x)
    taken = (x[:, None] - views[:, 1:]).sum(1)
    torch.testing.assert_close(taken, x - x.mean(2, keepdim=True), atol=1e-5, rtol=1e-5)


def test_bytes_stay_bytes():
    x = torch.randint(256, (3, 2, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for transform in (Speeds(), Bands(), Permutations(2)):
        views = transform(x).int()
        assert (views - transform(x.float()).clamp(0, 255)).abs().max() <= 0.5


def test_bands_are_thirds_of_the_spectrum():
    time = torch.arange(600) / 600
    tones = torch.stack([torch.sin(2 * torch.pi * frequency * time) for frequency in (50, 150, 250)])[:, None]
    views = Bands()(tones)[:, 1:].square().sum((2, 3))
    torch.testing.assert_close(views, 300 * (1 - torch.eye(3)), atol=1e-2, rtol=0)


def test_permutations_move_channels_on():
    x = torch.arange(5).view(1, 5, 1)
    assert Permutations()(x)[0, :, :, 0].tolist() == [
        [0, 1, 2, 3, 4],
        [4, 0, 1, 2, 3],
        [3, 4, 0, 1, 2],
        [2, 3, 4, 0, 1],
    ]
    assert task("permutations", (2, 9)).n_classes == 2
    assert task("permutations", (7, 9)).n_classes == 4
    with pytest.raises(InputError, match="needs at least 2, got 1"):
        task("permutations", (1, 9))


def test_affine_views_are_matrix_products(draw):
    matrices, x = draw.normal(size=(3, 5, 5)).astype(np.float32), draw.normal(size=(7, 5)).astype(np.float32)
    views = Affine(matrices)(torch.from_numpy(x))
    for v in range(3):
        assert_allclose(views[:, v], x @ matrices[v], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [257, 512, 700])
def test_long_vectors_get_structured_maps_that_mix_and_keep_distances(draw, size):
    maps = transform_of("affine", (size,))
    assert isinstance(maps, HadamardMaps)
    assert maps.count == 8
    assert maps.order.nbytes + maps.signs.nbytes == 8 * 5 * size
    matrices = maps(torch.eye(size)).numpy()  # [D, V, D]
    for v in range(8):
        assert_allclose(matrices[:, v].T @ matrices[:, v], np.eye(size), atol=1e-5)
        assert ((matrices[:, v] != 0).sum(0) >= 128).all()  # each number is a mixture of many
    assert not np.array_equal(matrices[:, 0], matrices[:, 1])
    x = draw.normal(size=(3, size)).astype(np.float32)
    found = maps(torch.from_numpy(x)).numpy()
    assert_allclose(found, np.einsum("nd,dve->nve", x, matrices), rtol=1e-3, atol=1e-4)
    assert_allclose(np.square(found).sum(-1), np.square(x).sum(1)[:, None].repeat(8, 1), rtol=1e-4)


def test_vectors_of_256_numbers_get_the_maps_they_always_had():
    matrices = np.random.RandomState(0).standard_normal((8, 256, 256)) / 16
    assert_array_equal(transform_of("affine", (256,)).matrices, matrices.astype(np.float32))


def test_only_the_first_view_is_scored_where_views_are_drawn():
    assert task("defects", (2, 20, 14)).targets(None, 2).tolist() == [[0], [0]]
    one = task("labels+pastes", (2, 20, 14), np.array([7, 3]))
    assert one.n_classes == 6
    assert one.targets(np.array([7, 3]), 2).tolist() == [[3], [0]]
    assert one.targets(np.array([7, 3]), 2, training=True).tolist() == [[3, 4, 5], [0, 1, 2]]


def test_indistinguishable_views_is_the_part_of_samples_with_views_alike():
    one = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    x = torch.stack([one, one + one.rot90(2, (1, 2)), torch.ones(1, 6, 6), one + 1])
    assert indistinguishable_views(Rotations(), x) == 0.5
    assert indistinguishable_views(Identity(), x) == 0
    assert indistinguishable_views(Pastes(), x) == 0.25
    assert indistinguishable_views(Reversals(), torch.tensor([[[1, 2, 1]], [[1, 2, 3]]])) == 0.5


def test_identity_is_one_view():
    x = torch.arange(6).view(2, 3)
    assert torch.equal(Identity()(x), x[:, None])


def test_the_seed_decides_the_affine_maps():
    first, again, other = (transform_of("affine", seed=seed).matrices for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (8, 5, 5)


@given(st.integers(1, 5), st.sampled_from(sorted(SHAPES)))
def test_class_l_v_plus_v_is_label_l_under_transform_v(n_labels, transform):
    labels = np.arange(n_labels).repeat(2)
    one, shown = made(f"labels+{transform}", SHAPES[transform], labels)
    views = shown.count
    targets = one.targets(labels, len(labels), training=True)
    assert one.n_classes == n_labels * views
    assert one.view_names == shown.names
    assert targets.tolist() == [[label * views + v for v in range(views)] for label in labels]


def test_targets_by_hand():
    one = task("labels+rotations", (1, 6, 6), np.array(["b", "a"]))
    assert one.targets(np.array(["b", "a"]), 2).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert one.targets(None, 2) is None
    assert task("rotations", (1, 6, 6)).targets(None, 2).tolist() == [[0, 1, 2, 3]] * 2
    assert task("labels", labels=np.array([7, 3, 5])).targets(np.array([5, 3, 7]), 3).tolist() == [[1], [0], [2]]


def test_a_task_without_labels_ignores_them():
    one = task("rotations", (1, 6, 6), np.array([1, 2]))
    assert one.labels is None
    assert one.n_classes == 4
    assert one.targets(np.array([1, 2]), 2).tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("name", TASKS)
def test_every_named_task_can_be_made_and_its_views_have_its_targets(name):
    shape = next((SHAPES[part] for part in name.split("+") if part in SHAPES), (5,))
    labels = np.array([0, 1, 0]) if "labels" in name else None
    one, transform, transform_name = make_task(name, shape, labels, np.random.RandomState(0))
    views, targets = transform(torch.zeros(3, *shape)), one.targets(labels, 3)
    assert views.shape == (3, transform.scored, *shape)
    assert targets.shape == (3, transform.scored)
    views = transform(torch.zeros(3, *shape), torch.rand(3, transform.n_draws))
    assert views.shape == (3, transform.count, *shape)
    assert len(np.unique(one.targets(labels, 3, training=True))) == one.n_classes
    assert (one.view_names, one.n_scored) == (transform.names, transform.scored)
    assert transform_name in ("", *TRANSFORMS)
    assert isinstance(transform, Identity) == (transform_name == "")


def test_auto_is_the_transforms_of_the_shape_together_with_the_labels_if_any():
    for name, kind in (("rotations", Rotations), ("reversals", Reversals), ("affine", Affine)):
        alone, both = made("auto", SHAPES[name]), made("auto", SHAPES[name], np.array([7, 3]))
        assert isinstance(alone[1], kind)
        assert isinstance(both[1], Identity if name == "affine" else kind)
        assert alone[0].labels is None
        assert both[0].labels.tolist() == [3, 7]
    oblong, transform = made("auto", (1, 6, 7), np.array([0, 1]))
    assert isinstance(transform, Identity)
    assert oblong.n_classes == 2
    assert isinstance(transform_of("auto", (1, 6, 7)), Pastes)


@pytest.mark.parametrize(
    ("known", "given", "message"),
    [
        ([0, 1], [1, 9], r"label 9 of sample 1 was not learnt; known are \[0, 1\]"),
        ([0, 2], [1, 2], r"label 1 of sample 0 was not learnt; known are \[0, 2\]"),
        ([0, 2], [-1], r"label -1 of sample 0 was not learnt"),
        (["a", "b"], ["a", "aa"], r"label 'aa' of sample 1 was not learnt; known are \['a', 'b'\]"),
        (["a", "b"], [1], r"label 1 of sample 0 was not learnt"),
    ],
)
def test_labels_that_were_not_learnt_are_refused(known, given, message):
    with pytest.raises(InputError, match=message):
        Task(np.array(known), ("as it is",), 1).targets(np.array(given), len(given))


def test_one_label_is_refused_unless_transforms_make_more_classes():
    with pytest.raises(InputError, match=r"all 3 labels are 7; .*at least 2"):
        task("labels", labels=np.array([7, 7, 7]))
    assert task("labels+affine", labels=np.array([7, 7, 7])).n_classes == 8


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("labels")])
def test_a_task_of_labels_needs_labels(name):
    with pytest.raises(InputError, match="classifies internal labels; pass them"):
        task(name)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("rotations", (1, 6, 7), r"rotates square pictures \[N, C, S, S\]; got samples of shape \(1, 6, 7\)"),
        ("rotations", (6, 6), "rotates square pictures"),
        ("defects", (6, 6), r"plants defects into pictures \[N, C, H, W\]; got samples of shape \(6, 6\)"),
        ("pastes", (6, 6), r"pastes into pictures \[N, C, H, W\]; got samples of shape \(6, 6\)"),
        ("reversals", (5,), r"task 'reversals' reverses signals \[N, C, T\]; got samples of shape \(5,\)"),
        ("speeds", (5,), r"task 'speeds' speeds up and slows down signals \[N, C, T\]"),
        ("bands", (1, 5, 5), r"task 'bands' removes frequencies from signals \[N, C, T\]"),
        ("permutations", (5,), r"task 'permutations' shifts the channels of signals \[N, C, T\]"),
        ("affine", (2, 9), r"maps vectors \[N, D\]; got samples of shape \(2, 9\)"),
    ],
)
def test_samples_a_transform_cannot_turn_are_refused(name, shape, message):
    with pytest.raises(InputError, match=message):
        task(name, shape)


@pytest.mark.parametrize("name", ["jigsaw", "labels+", "labels+labels", "rotations+labels", "", None, 3])
def test_unknown_tasks_are_refused(name):
    with pytest.raises(InputError, match=r"task=.*; known are 'auto', 'labels', 'rotations'"):
        task(name, labels=np.array([0, 1]))


def test_vectors_with_a_single_label_are_mapped_too():
    task, transform = made("auto", SHAPES["affine"], np.array([7, 7]))
    assert isinstance(transform, Affine)
    assert task.labels.tolist() == [7]


def test_pictures_that_vary_equally_at_every_place_show_surfaces(draw, mnist):
    noise = draw.integers(256, size=(60, 1, 16, 16)).astype(np.uint8)
    assert show_surfaces(noise)
    assert not show_surfaces(mnist[0].inputs)
    assert not show_surfaces(noise[:10])  # too few to see that
    assert not show_surfaces(noise[:, 0])
    assert not show_surfaces(noise[..., :15])
    centred = noise * (np.hypot(*np.mgrid[-8:8, -8:8]) < 6)
    assert not show_surfaces(centred)
    for labels in (None, np.array([0, 1])):
        task, transform, name = make_task("auto", (1, 16, 16), labels, np.random.RandomState(0), surfaces=True)
        assert (task.labels, type(transform), name) == (None, Defects, "defects")
