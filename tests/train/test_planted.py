import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oddkind.train.planted import Defects, Pastes


def pictures(kind, n=6, channels=2, height=20, width=14):
    x = torch.randint(256, (n, channels, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return x if kind == "uint8" else (x.float() - 128) / 70


@given(st.integers(0, 99), st.sampled_from(["uint8", "float"]), st.integers(1, 3))
def test_pastes_change_one_piece_of_the_first_view_and_one_thinner_scar(seed, kind, channels):
    x = pictures(kind, channels=channels, height=40, width=40)
    draws = torch.rand(len(x), Pastes.n_draws, generator=torch.Generator().manual_seed(seed))
    draws[:, 16:] = 0.4  # not mirrored
    views = Pastes()(x, draws)
    assert views.shape == (len(x), 3, *x.shape[1:])
    assert views.dtype == x.dtype
    assert torch.equal(views[:, 0], x)
    for mirrored, axes in (((0.6, 0.4), [-1]), ((0.4, 0.6), [-2]), ((0.6, 0.6), [-1, -2])):
        draws[:, 16:] = torch.tensor(mirrored)
        assert torch.equal(Pastes()(x, draws)[:, 0], x.flip(axes))
    changed = (views != views[:, :1]).any(2)  # [N, 3, H, W]
    for piece, scar in changed[:, 1:]:
        assert 1 <= piece.sum() <= 0.15 * 40 * 40
        rows, columns = (np.flatnonzero(piece.any(axis)) for axis in (1, 0))
        # Upright: what of the rectangle is not the same as before by chance fills rows and columns without a gap.
        assert len(rows) == np.ptp(rows) + 1
        assert len(columns) == np.ptp(columns) + 1
        assert 1 <= scar.sum() <= 0.06 * 0.25 * 40 * 40 + 25


def test_what_is_pasted_is_of_the_same_picture_brighter_or_darker():
    x = pictures("float", channels=1)
    draws = torch.rand(len(x), Pastes.n_draws, generator=torch.Generator().manual_seed(1))
    draws[:, 16:] = 0
    tone = (4 * draws[:, 7] - 2) * x.std((1, 2, 3))
    for one, view, added in zip(x, Pastes()(x, draws)[:, 1], tone, strict=True):
        pasted = view[view != one] - added
        assert len(pasted)
        assert torch.isclose(pasted[:, None], one.flatten(), atol=1e-5).any(1).all()


def test_pastes_reach_every_place_of_the_smallest_picture():
    x = pictures("uint8", n=500, channels=1, height=8, width=11)
    views = Pastes()(x, torch.rand(len(x), Pastes.n_draws, generator=torch.Generator().manual_seed(0)))
    changed = views != views[:, :1]
    assert changed[:, 1:].flatten(2).any(2).float().mean() > 0.95  # the rest is pasted over its like
    assert changed[:, 1:].any(0).all()


# How the picture itself is drawn: mirrored, slopes of the light, size and place of the part, then the switches.
MIRRORED, SLOPES, SIZES, AGAIN, LIT, FOREIGN = slice(0, 2), slice(2, 4), slice(4, 6), 8, 9, 10
# The first draw of a defect, after which come, as `Defects` uses them: darker, tone, …, texture toned, opacity, toned.
LOOK = 11
PATCH, LINE, BLOB, BOX = (torch.arange(4) / 4 + 0.1).tolist()


def drawn(n, seed=0, *, form=None, twice=False):
    """Random numbers for defects of one form, in pictures that stay as they are and borrow nothing."""
    draws = torch.rand(n, Defects.n_draws, generator=torch.Generator().manual_seed(seed))
    draws[:, MIRRORED], draws[:, SLOPES], draws[:, SIZES], draws[:, [LIT, FOREIGN]] = 0, 0.5, 1, 1
    draws[:, AGAIN] = 0 if twice else 1
    if form is not None:
        draws[:, LOOK] = form
    return draws


@given(st.integers(0, 99), st.sampled_from(["uint8", "float"]), st.integers(1, 3))
def test_a_defect_changes_some_places_of_the_picture_and_no_other(seed, kind, channels):
    x = pictures(kind, channels=channels, height=40, width=30)
    views = Defects()(x, drawn(len(x), seed))
    assert views.shape == (len(x), 2, *x.shape[1:])
    assert views.dtype == x.dtype
    torch.testing.assert_close(views[:, 0], x, rtol=0, atol=1e-4)
    changed = (views[:, 1] != views[:, 0]).any(1).flatten(1)
    assert (changed.float().mean(1) < 0.5).all()
    twice = (Defects()(x, drawn(len(x), seed, twice=True))[:, 1] != views[:, 0]).any(1).flatten(1)
    assert (twice | ~changed).float().mean() > 0.99  # the second defect seldom hides the first


def test_the_picture_is_mirrored_and_lit_unevenly_before_a_defect_is_planted():
    x = pictures("float", height=30, width=30)
    for mirrored, axes in (((0.6, 0.4), [-1]), ((0.4, 0.6), [-2]), ((0.6, 0.6), [-1, -2])):
        draws = drawn(len(x))
        draws[:, MIRRORED] = torch.tensor(mirrored)
        torch.testing.assert_close(Defects()(x, draws)[:, 0], x.flip(axes), rtol=0, atol=1e-4)
    draws = drawn(len(x))
    draws[:, SLOPES] = torch.tensor([1.0, 0.5])  # brighter towards the bottom
    added = (Defects()(x, draws)[:, 0] - x) / x.std((1, 2, 3), keepdim=True)
    torch.testing.assert_close(added[:, 0, :, 3], torch.linspace(-0.4, 0.4, 30).expand(len(x), -1), atol=1e-4, rtol=0)


def test_a_part_of_the_picture_is_magnified():
    ramp = torch.arange(40.0).expand(3, 1, 40, 40)
    draws = drawn(3)
    draws[:, 5] = torch.tensor([0.0, 0.0, 0.75])  # of the width: as little as possible, twice, and all
    draws[:, 7] = torch.tensor([0.0, 0.5, 0.5])  # on the left, in the middle
    found = Defects()(ramp, draws)[:, 0, 0, 0]
    share = np.exp(-0.3)
    inside = (np.arange(40) + 0.5) * share - 0.5
    np.testing.assert_allclose(found[0], inside.clip(0), atol=1e-4)
    np.testing.assert_allclose(found[1], inside + 20 * (1 - share), atol=1e-4)
    np.testing.assert_allclose(found[2], ramp[0, 0, 0], atol=1e-4)
    draws[:, 4] = 0  # of the height, along which the ramp is even
    torch.testing.assert_close(Defects()(ramp, draws)[:, 0, 0, 0], found, atol=1e-4, rtol=0)


def test_light_and_texture_are_borrowed_from_other_pictures():
    fine = torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    bright = torch.linspace(0, 9, 64).expand(20, 1, 64, 64)
    draws = drawn(20, form=BOX)
    draws[:, LOOK + 5], draws[:, LOOK + 7], draws[:, LOOK + 6] = 0.9, 0.9, 1.0  # texture as it is, opaque
    draws[:10, LIT] = 0
    lit, unlit = Defects()(fine, draws, bright)[:, 0, 0].split(10)
    torch.testing.assert_close(unlit, fine[10:, 0], atol=1e-4, rtol=0)
    blocks = (lit - bright[:10, 0]).unflatten(1, (8, 8)).unflatten(3, (8, 8)).mean((2, 4))
    assert blocks.abs().max() < 0.3  # the light is that of the other picture, the rest the picture's own
    assert np.corrcoef((lit - bright[:10, 0]).flatten(), fine[:10, 0].flatten())[0, 1] > 0.9
    draws[:, LIT], draws[:10, FOREIGN] = 1, 0
    steps = 7.0 * (torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.5)
    views = Defects()(fine, draws, steps)[:, :, 0]
    changed = (views[:, 1] - views[:, 0]).abs() > 1e-6
    level = fine.mean((1, 2, 3)) - steps.mean((1, 2, 3))
    for one, where, base in zip(views[:10, 1], changed[:10], level[:10], strict=True):
        values = one[where] - base
        assert torch.minimum(values.abs(), (values - 7).abs()).max() < 1e-3
    assert views[10:, 1].max() <= 1  # texture of the picture itself


def test_nothing_is_borrowed_from_pictures_that_are_not_given():
    x = pictures("float", height=30, width=30)
    draws = torch.rand(len(x), Defects.n_draws, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Defects()(x, draws), Defects()(x, draws, x), atol=0, rtol=0)


@pytest.mark.parametrize("form", [LINE, BLOB])
@pytest.mark.parametrize(("darker", "sign"), [(0.1, -1), (0.9, 1)])
def test_lines_and_blobs_are_darker_or_brighter_by_their_tone(form, darker, sign):
    x = pictures("float", n=50, channels=1, height=40, width=40)
    draws = drawn(len(x), form=form)
    draws[:, LOOK + 1] = darker
    plain, planted = Defects()(x, draws).unbind(1)
    added = sign * (planted - plain).flatten(1) / x.std((1, 2, 3))[:, None]
    tone = 0.4 + 2.1 * draws[:, LOOK + 2, None]
    assert (added >= -1e-5).all()
    assert (added <= tone + 1e-5).all()
    assert (added.amax(1) > 0.3 * tone[:, 0]).float().mean() > 0.9  # the others are thin or lie at the border


def test_texture_is_that_of_the_picture_blended_in():
    x = pictures("float", n=50, channels=1, height=40, width=40)
    draws = drawn(len(x), form=BOX)
    draws[:, LOOK + 5] = 0.9  # neither darker nor brighter
    draws[:, LOOK + 7] = 0.9
    draws[:, LOOK + 6] = 1.0  # opaque
    for one, view in zip(x, Defects()(x, draws)[:, 1], strict=True):
        assert torch.isclose(view.flatten()[:, None], one.flatten(), atol=1e-4).any(1).all()


def test_forms_have_the_sizes_that_their_descriptions_say():
    x = torch.zeros(300, 1, 64, 64)
    x[:, :, ::2] = 1
    draws = drawn(len(x))
    draws[:, LOOK + 7] = 0  # a tone, which changes every place
    shares = {}
    for form in (PATCH, LINE, BLOB, BOX):
        draws[:, LOOK] = form
        plain, planted = Defects()(x, draws).unbind(1)
        changed = (planted - plain).abs().amax(1) > 0
        shares[form] = changed.float().mean((1, 2))
        assert (shares[form] > 0).float().mean() > 0.85
        assert changed.any(0).view(8, 8, 8, 8).any(3).any(1).all()  # every place may have one
    assert shares[BOX].max() <= 0.2 + 2 / 64
    assert shares[BLOB].max() <= np.pi * (0.24 + 1 / 64) ** 2
    assert shares[LINE].mean() < shares[BOX].mean() < shares[PATCH].max() < 0.5


@pytest.mark.parametrize("transform", [Pastes(), Defects()])
def test_without_draws_the_picture_is_as_it_is(transform):
    x = pictures("uint8")
    assert torch.equal(transform(x), x[:, None])
