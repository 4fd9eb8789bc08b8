"""Maps of pictures: known answers for made-up features of places, laws, and models that have maps or none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import quick
from scipy import stats

from oddkind import InputError, explain, load, save
from oddkind.model.places import SHRINKAGE, learn_places, unusual_places


class Local:
    """Its features of a place are two linear functions of the mean of 4 × 4 pixels."""

    def __init__(self, weights=((1.0, 0.0), (0.0, 1.0))):
        self.weights = np.array(weights)

    def local_features(self, inputs):
        means = inputs.reshape(len(inputs), 2, inputs.shape[2] // 4, 4, -1, 4).mean((3, 5))
        return np.einsum("kc,nchw->nkhw", self.weights, means)


def normal(draw, n=200):
    return draw.normal(size=(n, 2, 8, 12)).astype(np.float32)


def textures(n, seed=0):
    """Noise that varies equally at every place, and the same with a bright spot of 6 × 6 pixels at row 20, column 8."""
    draw = np.random.default_rng(seed)
    clean = draw.normal(128, 20, size=(n, 1, 32, 32)).clip(0, 255).astype(np.uint8)
    spotted = clean.copy()
    spotted[..., 20:26, 8:14] = 250
    return clean, spotted


def test_the_distance_is_mahalanobis_by_a_shrunk_covariance(draw):
    inputs, member = normal(draw), Local()
    places = learn_places([member], inputs)
    rows = np.moveaxis(member.local_features(inputs), 1, -1).reshape(-1, 2).astype(float)
    covariance = np.cov(rows.T, bias=True)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 2 * np.eye(2)
    apart = rows - rows.mean(0)
    squares = np.einsum("nk,kl,nl->n", apart, np.linalg.inv(shrunk), apart)
    assert_allclose(places.usual, np.quantile(squares, 0.99))
    found = unusual_places([member], places, inputs)
    middles = found[:, 1::4, 1::4] + found[:, 2::4, 2::4] + found[:, 1::4, 2::4] + found[:, 2::4, 1::4]
    assert found.shape == (200, 8, 12)
    assert_allclose(np.mean(squares / places.usual - 1 > 0), 0.01, atol=0.001)
    assert np.corrcoef(middles.ravel(), squares)[0, 1] > 0.9


def test_between_places_it_is_interpolated(draw):
    inputs, member = normal(draw), Local()
    places = replace(learn_places([member], inputs), mean=np.zeros((1, 2)), whitening=np.eye(2)[None], usual=np.ones(1))
    one = np.zeros((1, 2, 8, 12), np.float32)
    one[0, 0, 4:, :4] = 3.0
    (found,) = unusual_places([member], places, one)
    assert_allclose(found[:, 0], 9 * np.array([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]) - 1)
    assert_allclose(found[7], 9 * np.array([1, 1, 7 / 8, 5 / 8, 3 / 8, 1 / 8, 0, 0, 0, 0, 0, 0]) - 1)


def test_a_scale_or_mixture_of_the_features_changes_nothing_but_rounding(draw):
    inputs = normal(draw)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 7
    plain, turned = ([member] for member in (Local(), Local(turn)))
    expected = unusual_places(plain, learn_places(plain, inputs), inputs[:3])
    assert_allclose(unusual_places(turned, learn_places(turned, inputs), inputs[:3]), expected, rtol=1e-6, atol=1e-9)


def test_maps_of_several_networks_are_averaged(draw):
    inputs, members = normal(draw), [Local(), Local(((1.0, 1.0), (0.0, 0.3)))]
    places = learn_places(members, inputs)
    each = [unusual_places([member], learn_places([member], inputs), inputs[:4]) for member in members]
    assert_allclose(unusual_places(members, places, inputs[:4]), np.mean(each, 0))


def test_a_single_feature_is_a_logit_of_which_only_large_values_are_unusual(draw):
    logits = draw.normal(-5, 2, (50, 1, 8, 8))
    member = SimpleNamespace(local_features=lambda inputs: logits[: len(inputs)])
    found = unusual_places([member], learn_places([member], np.zeros((50, 1, 8, 8))), np.zeros((50, 1, 8, 8)))
    expected = stats.zscore(logits[:, 0], axis=None)
    assert_allclose(found, expected / np.quantile(expected, 0.99) - 1, rtol=1e-6, atol=1e-9)


def test_features_that_never_vary_are_usual_everywhere():
    blank = np.zeros((3, 2, 8, 8), np.float32)
    assert_array_equal(unusual_places([Local()], learn_places([Local()], blank), blank), np.full((3, 8, 8), -1.0))


def test_networks_without_local_features_have_no_map(draw):
    without = SimpleNamespace(local_features=lambda inputs: None)
    assert learn_places([without], normal(draw)) is None
    assert unusual_places([without], learn_places([Local()], normal(draw)), normal(draw)) is None


@pytest.fixture(scope="module", params=[("pastes", "local", 12), ("defects", "unet", 12)], ids=lambda one: one[0])
def fitted(request):
    task, network, epochs = request.param
    return quick(task=task, network=network, epochs=epochs).fit(textures(120)[0]).model_


def test_a_map_shows_where_a_spot_lies(fitted):
    clean, spotted = textures(6, seed=1)
    for explanation in explain(fitted, spotted):
        row, column = np.unravel_index(explanation.map.argmax(), explanation.map.shape)
        assert 17 <= row < 29
        assert 5 <= column < 17
        assert explanation.map.max() > 0
        assert_array_equal(explanation.where, explanation.map[None])
    assert np.mean([one.map > 0 for one in explain(fitted, clean)]) < 0.1


def test_no_other_sample_changes_a_map(fitted):
    _, spotted = textures(5, seed=2)
    together = explain(fitted, spotted)
    assert_array_equal(explain(fitted, spotted[3:4])[0].map, together[3].map)


def test_a_map_is_the_same_after_saving(fitted, tmp_path):
    _, spotted = textures(2, seed=3)
    save(fitted, tmp_path / "surface.oddkind")
    again = load(tmp_path / "surface.oddkind")
    assert_array_equal(explain(again, spotted)[1].map, explain(fitted, spotted)[1].map)
    wrong = replace(fitted.places, mean=np.zeros((1, 3)), whitening=np.zeros((1, 3, 3)))
    save(replace(fitted, places=wrong), tmp_path / "wrong.oddkind")
    with pytest.raises(InputError, match="do not fit together"):
        load(tmp_path / "wrong.oddkind")


def test_other_networks_show_their_evidence_alone():
    clean, spotted = textures(40)
    model = quick(task="rotations", epochs=1).fit(clean).model_
    (explanation,) = explain(model, spotted[:1])
    assert (model.places, explanation.map) == (None, None)
    assert explanation.where is explanation.evidence
