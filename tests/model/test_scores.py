"""The same tests for every score, and what each refuses."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scoring import COMBINED, DISTANCES, N_STATISTICS, OF_SIGNALS, SINGLE, VIEWS, D, N, learnt, outputs_of, scored

from oddkind import SCORES, InputError, Outputs, neighbours
from oddkind.model.fitted_score import learn_score
from oddkind.model.scores import Combination, components_of, resolve_score
from oddkind.model.task import Task

NEEDS_ROTATIONS = {"rotation-distance", "expected-rotation-distance"}
USES_TEMPERATURE = {"msp", "energy", "entropy", "target-nll", "likelihood", "hellinger-neighbours", *NEEDS_ROTATIONS}
LEARNS = {
    "likelihood",
    "cosine-neighbours",
    "euclidean-neighbours",
    "joint-neighbours",
    "view-neighbours",
    "hellinger-neighbours",
    "local-input-neighbours",
    "mahalanobis",
    "relative-mahalanobis",
    "joint-mahalanobis",
    "vim",
    *DISTANCES,
}
JOINS_VIEWS = {
    *("likelihood", "joint-neighbours", "view-neighbours", "hellinger-neighbours", "local-input-neighbours"),
    "joint-mahalanobis",
    *DISTANCES,
}
COMPARES_INPUTS = {"local-input-neighbours", *(name for name in DISTANCES if "feature" not in name)}
TO_ALL = {name for name in DISTANCES if name.endswith("-to-all")}


def cannot(name, views, known):
    return views == 1 and (name in NEEDS_ROTATIONS or (name == "target-nll" and not known))


CASES = [
    pytest.param(name, views, known, id=f"{name}-{views}-{'known' if known else 'unknown'}")
    for name in SINGLE
    for views in (1, VIEWS)
    for known in (True, False)
    if not cannot(name, views, known)
]


def test_the_table_says_what_each_score_needs():
    assert {name for name in SINGLE if SCORES[name].learn} == LEARNS
    assert {name for name, score in SCORES.items() if isinstance(score, Combination)} == COMBINED
    assert all(part in SINGLE for name in COMBINED for part in SCORES[name].components)
    assert {name for name in SINGLE if SCORES[name].needs_rotations} == NEEDS_ROTATIONS
    assert {name for name in SINGLE if SCORES[name].needs_labels} == {"target-nll"}
    assert {name for name in SINGLE if SCORES[name].network} == {"changed-place"}
    assert {name for name in SINGLE if SCORES[name].needs_signals} == OF_SIGNALS & {*SINGLE}
    assert {name for name in OF_SIGNALS if "statistics" not in name} == {"fused-signal-distances"}
    assert all(score.formula for score in SCORES.values())


def test_only_a_score_that_needs_labels_cannot_score_without_them():
    labels = np.array([0, 1, 2])
    for name in SINGLE:
        for task in (Task(labels, ("a",), 1), Task(labels, ("a", "b"), 2), Task(None, ("a", "b"), 1)):
            alone = name == "target-nll" and task.n_views == 1
            assert SCORES[name].label_modes(task) == ((True,) if alone else (True, False))
    # Views that are drawn at random are not scored, so that the transform of a sample is not known.
    assert SCORES["target-nll"].label_modes(Task(labels, ("a", "b"), 1)) == (True,)


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_scores_made_of_the_softmax_use_no_features(draw, name, views, known):
    outputs, normal = outputs_of(draw, N, views=views, known=known), outputs_of(draw, 40, views=views)
    elsewhere = replace(outputs, features=np.roll(outputs.features, 1, 0))
    one, other = (scored(name, some, normal) for some in (outputs, elsewhere))
    assert np.array_equal(one, other) == (SCORES[name].uses_softmax or name in COMPARES_INPUTS)


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_the_score_of_a_sample_does_not_depend_on_its_batch(draw, name, views, known):
    outputs, arrays = outputs_of(draw, N, views=views, known=known), learnt(name, outputs_of(draw, 60, views=views))
    scores, order = SCORES[name].compute(outputs, arrays, 1.0), draw.permutation(N)
    assert scores.shape == (N,)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1
    for rows in (order, slice(1)):
        assert_allclose(SCORES[name].compute(outputs[rows], arrays, 1.0), scores[rows], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(LEARNS))
def test_what_a_score_learns_does_not_depend_on_the_order_of_the_normal_samples(draw, name):
    outputs, normal = outputs_of(draw, N), outputs_of(draw, 60)
    mixed = normal[draw.permutation(60)]
    assert_allclose(scored(name, outputs, mixed), scored(name, outputs, normal), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_temperature_matters_where_the_formula_has_one(draw, name, views, known):
    outputs, normal = outputs_of(draw, N, views=views, known=known), outputs_of(draw, 60, views=views)
    same = np.allclose(scored(name, outputs, normal, 1.0), scored(name, outputs, normal, 3.0))
    assert same == (name not in USES_TEMPERATURE)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("name", [name for name in SINGLE if name != "changed-place"])
def test_what_the_network_cannot_place_scores_higher(draw, name, known):
    views, label = np.arange(VIEWS), draw.integers(2, size=40)
    directions = np.eye(3, D)
    inputs = directions[label] + 0.05 * draw.normal(size=(40, D))
    reference = Outputs(
        9.0 * np.eye(2 * VIEWS)[label[:, None] * VIEWS + views],
        np.tile(inputs[:, None], (1, VIEWS, 1)),
        label[:, None] * VIEWS + views,
        inputs,
        statistics=np.tile(np.exp(inputs)[:, None], (1, N_STATISTICS, 1)),
    )
    normal = reference[:1]
    odd = Outputs(np.zeros_like(normal.logits), np.tile(directions[2], (1, VIEWS, 1)), normal.targets, directions[2:])
    odd = replace(odd, statistics=np.tile(np.exp(directions[2:])[:, None], (1, N_STATISTICS, 1)))
    both = [
        replace(o, features=o.features + 1e-3, targets=o.targets if known else None, inputs=o.inputs + 1e-3)
        for o in (normal, odd)
    ]
    low, high = (scored(name, outputs, reference)[0] for outputs in both)
    assert low < high


@pytest.mark.parametrize("name", sorted({*SINGLE} - NEEDS_ROTATIONS - JOINS_VIEWS))
def test_the_views_of_a_sample_are_averaged(draw, name):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)

    def view(of, v):
        return Outputs(of.logits[:, v : v + 1], of.features[:, v : v + 1], of.targets[:, v : v + 1])

    per_view = [scored(name, view(outputs, v), view(reference, v), 2.0) for v in range(VIEWS)]
    assert_allclose(scored(name, outputs, reference, 2.0), np.mean(per_view, 0), atol=1e-6)


def test_auto_stands_for_a_score_that_suits_the_shape():
    assert [resolve_score("auto", shape, with_labels=False)[0] for shape in ((3,), (2, 9), (1, 8, 8))] == [
        "fused-input-distances",
        "fused-signal-distances",
        "combined-with-input",
    ]
    assert resolve_score("auto", (3,), with_labels=True)[0] == "fused-distances"
    assert resolve_score("auto", (1, 8, 8), with_labels=False, network="local")[0] == "combined"
    assert resolve_score("auto", (1, 16, 16), with_labels=False, network="unet")[0] == "changed-place"
    assert resolve_score("auto", (1, 40, 32), with_labels=True, network="spectrogram")[0] == "combined-logs"
    assert resolve_score("msp", (1, 40, 32), with_labels=True, network="spectrogram")[0] == "msp"
    assert resolve_score("msp", (3,), with_labels=True) == ("msp", SCORES["msp"])
    own = neighbours(3)
    assert resolve_score(own, (3,), with_labels=True) == (None, own)
    assert components_of(own) == (own,)


# --- refusals ---


@pytest.mark.parametrize(("network", "what"), [("local", "'local'"), (None, "'your own'")])
def test_a_score_of_places_refuses_a_network_without_them(network, what):
    with pytest.raises(InputError, match=f"'changed-place' needs the network 'unet'; the network is {what}"):
        resolve_score("changed-place", (1, 16, 16), with_labels=False, network=network)


@pytest.mark.parametrize("shape", [(6,), (1, 16, 16)])
@pytest.mark.parametrize("name", ["statistics-distance", "fused-signal-distances"])
def test_a_score_of_signals_refuses_other_samples(draw, name, shape):
    with pytest.raises(InputError, match=rf"^score '{name}' needs signals \[N, C, T\]; samples have the shape \("):
        resolve_score(name, shape, with_labels=False)
    with pytest.raises(InputError, match=r"^this score compares statistics of signals: pass outputs with statistics$"):
        learnt("statistics-distance", replace(outputs_of(draw, 9), statistics=None))


def test_a_changed_place_is_the_first_feature(draw):
    outputs = outputs_of(draw, N)
    assert_allclose(scored("changed-place", outputs), outputs.features[:, :, 0].mean(1))


@pytest.mark.parametrize("name", sorted(LEARNS - TO_ALL))
def test_scores_that_learn_refuse_to_do_so_from_nothing(draw, name):
    with pytest.raises(InputError, match=f"score '{name}' compares with normal samples: pass their outputs"):
        learn_score(name, SCORES[name], None, 1.0)
    with pytest.raises(InputError, match="pass their outputs with targets"):
        learnt(name, outputs_of(draw, 3, known=False))


@pytest.mark.parametrize("name", sorted(LEARNS - TO_ALL))
def test_scores_that_learn_refuse_a_label_without_normal_samples(draw, name):
    outputs, normal = outputs_of(draw, N), outputs_of(draw, 60)
    without_label_0 = normal[normal.targets[:, 0] != 0]
    with pytest.raises(InputError, match="there is no normal sample of label 0 to compare with"):
        scored(name, outputs, without_label_0)
