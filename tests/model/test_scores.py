import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import softmax as reference_softmax
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from oddkind import SCORES, InputError, Outputs
from oddkind.model import scores as functions

N, LABELS, VIEWS, D = 23, 3, 4, 5
USES_ROTATIONS = {"rotation-distance", "expected-rotation-distance"}
USES_TEMPERATURE = {"msp", "energy", "entropy", "target-nll", "likelihood", "hellinger-neighbours", *USES_ROTATIONS}
USES_REFERENCE = {
    "likelihood",
    "cosine-neighbours",
    "euclidean-neighbours",
    "joint-neighbours",
    "view-neighbours",
    "hellinger-neighbours",
    "mahalanobis",
    "relative-mahalanobis",
    "vim",
}
JOINS_VIEWS = {"likelihood", "joint-neighbours", "view-neighbours", "hellinger-neighbours"}
COMBINED = {"combined"}
SINGLE = [name for name in SCORES if name not in COMBINED]

temperatures = st.floats(0.1, 10)
some_logits = arrays(float, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6), elements=st.floats(-20, 20))


def outputs_of(draw, n, *, views=VIEWS, known=True):
    targets = draw.integers(LABELS, size=(n, 1)) * views + np.arange(views)
    logits = draw.normal(size=(n, views, LABELS * views)) * 3
    return Outputs(logits, draw.normal(size=(n, views, D)), targets if known else None, draw.normal(size=(n, D)))


# --- Each function against a reference -------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_scores_of_logits_agree_with_their_references(draw, temperature):
    z = draw.normal(size=(N, VIEWS, 7)) * 5
    p = reference_softmax(z / temperature, axis=-1)
    torch_energy = -temperature * torch.logsumexp(torch.from_numpy(z) / temperature, -1)
    assert_allclose(functions.softmax(z, temperature), p)
    assert_allclose(functions.msp(z, temperature), 1 - p.max(-1), atol=1e-12)
    assert_allclose(functions.energy(z, temperature), torch_energy)
    assert_allclose(functions.entropy(z, temperature), stats.entropy(p, axis=-1), atol=1e-12)
    assert_array_equal(functions.max_logit(z), -z.max(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_target_nll_is_torchs_cross_entropy(draw, temperature):
    z, targets = draw.normal(size=(N, VIEWS, 7)) * 5, draw.integers(7, size=(N, VIEWS))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(z / temperature).flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
    )
    assert_allclose(functions.target_nll(z, targets, temperature).ravel(), expected)


@pytest.mark.parametrize("gap", [40.0, 300.0])
def test_confident_samples_do_not_tie(gap):
    z = np.array([[gap, 0.0], [gap + 1, 0.0]])
    assert_allclose(functions.msp(z), np.exp(-z[:, 0]), rtol=1e-12)
    assert_allclose(functions.target_nll(z, [1, 1]), z[:, 0])


def test_float32_logits_score_as_float64(draw):
    z = draw.normal(size=(N, 7)).astype(np.float32) * 20
    for function in (functions.msp, functions.energy, functions.entropy):
        assert_array_equal(function(z), function(z.astype(float)))


def one_view_predicts(turn, views=4):
    """Logits [1, V, V] by which every view looks turned `turn` times."""
    return 9.0 * np.tile(np.eye(views)[turn], (1, views, 1))


def test_rotation_distance_of_the_lectures_examples():
    predicted_0 = functions.rotation_distance(one_view_predicts(0))[0]
    assert predicted_0[1] == 1
    assert predicted_0[3] == 1
    assert predicted_0.tolist() == [0, 1, 2, 1]
    assert functions.rotation_distance(one_view_predicts(3))[0].tolist() == [1, 2, 1, 0]


def test_circular_distance_takes_the_shorter_way():
    assert functions.circular_distance(4).tolist() == [[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]]
    assert functions.circular_distance(5)[0].tolist() == [0, 1, 2, 2, 1]


def test_expected_rotation_distance_is_the_mean_under_the_probabilities(draw):
    z, temperature = draw.normal(size=(N, 4, 4)) * 2, 2.0
    p = reference_softmax(z / temperature, axis=-1)
    expected = [
        [sum(p[n, v, r] * min(abs(r - v), 4 - abs(r - v)) for r in range(4)) for v in range(4)] for n in range(N)
    ]
    assert_allclose(functions.expected_rotation_distance(z, temperature), expected)


def test_expected_rotation_distance_of_a_sure_network_is_the_rotation_distance(draw):
    z = draw.normal(size=(N, 4, 4))
    assert_allclose(functions.expected_rotation_distance(z, 1e-4), functions.rotation_distance(z), atol=1e-3)


# --- Laws ------------------------------------------------------------------------------------------------


@given(some_logits, temperatures)
def test_bounds_of_msp_and_entropy(z, temperature):
    classes = z.shape[1]
    msp, entropy = functions.msp(z, temperature), functions.entropy(z, temperature)
    assert (msp >= 0).all()
    assert (msp <= 1 - 1 / classes + 1e-12).all()
    assert (entropy >= -1e-12).all()
    assert (entropy <= math.log(classes) + 1e-12).all()
    assert_allclose(functions.msp(np.zeros((1, classes)), temperature), 1 - 1 / classes)


@given(some_logits, temperatures, st.floats(-50, 50))
def test_adding_a_constant_to_the_logits_moves_only_max_logit_and_energy(z, temperature, constant):
    targets = np.zeros(len(z), int)
    assert_allclose(functions.msp(z + constant, temperature), functions.msp(z, temperature), atol=1e-9)
    assert_allclose(functions.entropy(z + constant, temperature), functions.entropy(z, temperature), atol=1e-9)
    assert_allclose(
        functions.target_nll(z + constant, targets, temperature),
        functions.target_nll(z, targets, temperature),
        atol=1e-9,
    )
    assert_allclose(functions.max_logit(z + constant), functions.max_logit(z) - constant, atol=1e-9)
    assert_allclose(functions.energy(z + constant, temperature), functions.energy(z, temperature) - constant, atol=1e-9)


@given(some_logits, temperatures, st.floats(1, 5))
def test_a_higher_temperature_never_lowers_msp_or_entropy(z, temperature, factor):
    for function in (functions.msp, functions.entropy):
        assert (function(z, temperature * factor) >= function(z, temperature) - 1e-12).all()


@given(arrays(float, (8, 2), elements=st.floats(-20, 20)), st.floats(0.5, 10))
def test_temperature_cannot_reorder_msp_of_two_classes(z, temperature):
    order = np.argsort(-np.abs(z[:, 0] - z[:, 1]))
    assert (np.diff(functions.msp(z, temperature)[order]) >= -1e-15).all()


def test_temperature_can_reorder_msp_of_three_classes():
    z = np.array([[3.0, 2.5, -9.0], [3.0, 1.5, 1.5]])
    assert np.argmax(functions.msp(z, 1.0)) != np.argmax(functions.msp(z, 20.0))


@given(some_logits, st.floats(1e-3, 10))
def test_energy_tends_to_max_logit_as_temperature_falls(z, temperature):
    gap = functions.max_logit(z) - functions.energy(z, temperature)
    assert (gap >= -1e-9).all()
    assert (gap <= temperature * math.log(z.shape[1]) + 1e-9).all()


# --- One suite for every entry of the table ---------------------------------------------------------------


def cannot(name, views, known):
    return views == 1 and (name in USES_ROTATIONS or (name == "target-nll" and not known))


CASES = [
    pytest.param(name, views, known, id=f"{name}-{views}-{'known' if known else 'unknown'}")
    for name in SINGLE
    for views in (1, VIEWS)
    for known in (True, False)
    if not cannot(name, views, known)
]


@pytest.fixture
def compute(draw):
    reference = outputs_of(draw, 60)
    one_view = outputs_of(draw, 60, views=1)

    def run(name, outputs, temperature=1.0):
        return SCORES[name].compute(outputs, reference if outputs.n_views > 1 else one_view, temperature)

    return run


def test_the_table_says_what_each_score_needs():
    assert {name for name, score in SCORES.items() if score.needs_reference} == USES_REFERENCE | COMBINED
    assert {name for name, score in SCORES.items() if score.parts} == COMBINED
    assert all(part in SINGLE for name in COMBINED for part in SCORES[name].parts)
    assert {name for name, score in SCORES.items() if score.needs_rotations} == USES_ROTATIONS
    assert all(score.formula for score in SCORES.values())


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_scores_made_of_the_softmax_see_no_features(draw, name, views, known):
    outputs, normal = outputs_of(draw, N, views=views, known=known), outputs_of(draw, 40, views=views)
    elsewhere = replace(outputs, features=np.roll(outputs.features, 1, 0))
    one, other = (SCORES[name].compute(of, normal, 1.0) for of in (outputs, elsewhere))
    assert np.array_equal(one, other) == SCORES[name].softmax


def test_a_combination_believes_the_softmax_as_far_as_it_rules_classes_out():
    combined = SCORES["combined"]
    assert combined.believes(4.0, 4) == 0
    weight = 0.75**4  # of each of its two scores made of the softmax, beside one that is not
    assert combined.believes(1.0, 4) == pytest.approx(2 * weight / (1 + 2 * weight))
    assert (SCORES["msp"].believes(4.0, 4), SCORES["mahalanobis"].believes(1.0, 4)) == (1, 0)


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_a_samples_score_does_not_depend_on_its_batch(compute, draw, name, views, known):
    outputs = outputs_of(draw, N, views=views, known=known)
    scores, order = compute(name, outputs), draw.permutation(N)
    assert scores.shape == (N,)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1
    assert_allclose(compute(name, outputs[order]), scores[order], atol=1e-6)
    assert_allclose(compute(name, outputs[:1]), scores[:1], atol=1e-6)


@pytest.mark.parametrize(("name", "views", "known"), CASES)
def test_temperature_matters_where_the_formula_has_one(compute, draw, name, views, known):
    outputs = outputs_of(draw, N, views=views, known=known)
    same = np.allclose(compute(name, outputs, 1.0), compute(name, outputs, 3.0))
    assert same == (name not in USES_TEMPERATURE)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("name", SINGLE)
def test_what_the_network_cannot_place_scores_higher(draw, name, known):
    views, label = np.arange(VIEWS), draw.integers(2, size=40)
    directions = np.eye(3, D)
    inputs = directions[label] + 0.05 * draw.normal(size=(40, D))
    reference = Outputs(
        9.0 * np.eye(2 * VIEWS)[label[:, None] * VIEWS + views],
        np.tile(inputs[:, None], (1, VIEWS, 1)),
        label[:, None] * VIEWS + views,
        inputs,
    )
    normal = reference[:1]
    odd = Outputs(np.zeros_like(normal.logits), np.tile(directions[2], (1, VIEWS, 1)), normal.targets, directions[2:])
    both = [Outputs(o.logits, o.features + 1e-3, o.targets if known else None, o.inputs + 1e-3) for o in (normal, odd)]
    low, high = (SCORES[name].compute(outputs, reference, 1.0)[0] for outputs in both)
    assert low < high


@pytest.mark.parametrize("name", sorted({*SINGLE} - USES_ROTATIONS - JOINS_VIEWS))
def test_the_views_of_a_sample_are_averaged(draw, name):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)

    def view(of, v):
        return Outputs(of.logits[:, v : v + 1], of.features[:, v : v + 1], of.targets[:, v : v + 1])

    per_view = [SCORES[name].compute(view(outputs, v), view(reference, v), 2.0) for v in range(VIEWS)]
    assert_allclose(SCORES[name].compute(outputs, reference, 2.0), np.mean(per_view, 0), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_neighbours_compare_with_the_same_view_and_the_known_label(draw, metric, k):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)

    def by_hand(known):
        return [
            np.mean(
                [
                    np.sort(
                        cdist(
                            outputs.features[n, v][None],
                            reference.features[
                                ~np.bool_(known) | (reference.targets[:, v] == outputs.targets[n, v]), v
                            ],
                            metric,
                        )[0]
                    )[k - 1]
                    for v in range(VIEWS)
                ]
            )
            for n in range(N)
        ]

    compute = functions.neighbours(k, metric)
    unlabelled = Outputs(outputs.logits, outputs.features)
    assert_allclose(compute(outputs, reference, 1.0), by_hand(known=True), atol=1e-6)
    assert_allclose(compute(unlabelled, reference, 1.0), by_hand(known=False), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_view_and_hellinger_neighbours_compare_whole_samples_within_the_known_label(draw, temperature):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    for name, of in (
        ("view-neighbours", lambda o: o.features),
        ("hellinger-neighbours", lambda o: np.sqrt(reference_softmax(o.logits / temperature, axis=-1))),
    ):
        apart = np.mean(
            [
                cdist(*pair, "cosine")
                for pair in zip(*(of(o).swapaxes(0, 1) for o in (outputs, reference)), strict=True)
            ],
            0,
        )
        same = outputs.targets[:, :1] == reference.targets[:, 0]
        score = SCORES[name].compute
        for known, distance in ((None, apart), (outputs.targets, np.where(same, apart, np.inf))):
            expected = np.sort(distance, axis=1)[:, :5].mean(1)
            assert_allclose(score(replace(outputs, targets=known), reference, temperature), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_target_nll_sums_over_the_labels_when_only_the_transform_is_known(draw, temperature):
    outputs = outputs_of(draw, N, known=False)
    p = reference_softmax(outputs.logits / temperature, axis=-1)
    expected = [
        np.mean([-np.log(sum(p[n, v, label * VIEWS + v] for label in range(LABELS))) for v in range(VIEWS)])
        for n in range(N)
    ]
    assert_allclose(SCORES["target-nll"].compute(outputs, None, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_rotation_scores_sum_over_the_labels(draw, temperature):
    outputs = outputs_of(draw, N)
    p = reference_softmax(outputs.logits / temperature, axis=-1).reshape(N, VIEWS, LABELS, VIEWS).sum(2)
    turns, apart = np.arange(4), functions.circular_distance(4)
    assert_allclose(reference_softmax(outputs.transform_logits(), axis=-1).sum(-1), 1)
    assert_allclose(
        SCORES["expected-rotation-distance"].compute(outputs, None, temperature), (p * apart).sum(-1).mean(1)
    )
    if temperature == 1:
        expected = apart[p.argmax(-1), turns].mean(1)
        assert_array_equal(SCORES["rotation-distance"].compute(outputs, None, temperature), expected)


def test_outputs_select_rows_of_every_field(draw):
    outputs = outputs_of(draw, N)
    part = outputs[[3, 1]]
    assert (len(outputs), len(part), part.n_views) == (N, 2, VIEWS)
    for field in ("logits", "features", "targets", "inputs"):
        assert_array_equal(getattr(part, field), getattr(outputs, field)[[3, 1]])
    assert outputs_of(draw, N, known=False)[:2].targets is None


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_likelihood_is_that_of_one_label_in_all_views_beside_its_normal_samples(draw, temperature):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    own = reference.targets[:, 0] // VIEWS

    def p(of, view):
        return reference_softmax(of.logits[:, view] / temperature, axis=-1)

    def nll(of, label):
        return np.mean([-np.log(p(of, v) @ p(reference, v)[own == label].mean(0)) for v in range(VIEWS)], 0)

    expected = np.stack(
        [stats.zmap(nll(outputs, label), nll(reference, label)[own == label]) for label in range(LABELS)], 1
    )
    score = SCORES["likelihood"].compute
    assert_allclose(score(outputs, reference, temperature), expected[np.arange(N), outputs.targets[:, 0] // VIEWS])
    assert_allclose(score(replace(outputs, targets=None), reference, temperature), expected.min(1))


def test_a_label_that_is_hard_for_normal_samples_too_is_held_to_less(draw):
    label = np.repeat([0, 1], 50)
    # Label 1 is half as likely as not, even for its own: label 0 never errs.
    sure = np.where(label == 0, 9.0, draw.normal(0, 1, size=100))
    logits = np.where(np.arange(2) == label[:, None], sure[:, None], 0)[:, None]
    reference = Outputs(logits + 0.01 * draw.normal(size=logits.shape), logits, label[:, None])
    torn, odd = np.array([[[0.0, 0.0]]]), np.array([[[7.0, 0.0]]])
    p = functions.softmax(logits)
    usual = np.stack([p[label == 0].mean(0), p[label == 1].mean(0)])
    nll_of_torn, nll_of_odd = (functions.label_nll(z, np.log(usual))[0].min() for z in (torn, odd))
    assert nll_of_torn > nll_of_odd
    low, high = (SCORES["likelihood"].compute(Outputs(z, z), reference, 1.0)[0] for z in (torn, odd))
    assert low < high


def test_classes_that_normal_samples_are_taken_for_are_as_good_as_the_true_one(draw):
    sure = 9.0 * np.eye(4)[None]  # every view is taken for what it is
    upside_down = sure[:, [2, 3, 0, 1]]
    usual = (functions.softmax(sure) + functions.softmax(upside_down)) / 2
    sideways = sure[:, [1, 2, 3, 0]]
    nll = [functions.label_nll(logits, np.log(usual))[0, 0] for logits in (sure, upside_down, sideways)]
    assert nll[0] == pytest.approx(nll[1])
    assert nll[2] > nll[0] + 3
    logits = draw.normal(size=(N, 4, 4)) * 2
    expected = functions.target_nll(logits, np.tile(np.arange(4), (N, 1))).mean(1)
    sure = np.where(np.eye(4) == 1, 0, -np.inf)[None]
    assert_allclose(functions.label_nll(logits, sure)[:, 0], expected)


def test_likelihood_of_the_surest_network_is_finite(draw):
    label = np.repeat([0, 1], 30)
    logits = 1e4 * np.eye(2)[label][:, None] + draw.normal(size=(60, 1, 2))
    scores = SCORES["likelihood"].compute(Outputs(-logits, logits), Outputs(logits, logits, label[:, None]), 0.05)
    assert np.isfinite(scores).all()


def within(x, classes):
    """x less the mean of its class."""
    return x - np.array([x[classes == kind].mean(0) for kind in classes])


@pytest.mark.parametrize("long", [False, True])
def test_joint_neighbours_see_inputs_whitened_unless_long_and_features_scaled_alike(draw, monkeypatch, long):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    monkeypatch.setattr(functions, "WHITENED", D - long)

    def whitened(x):
        covariance = LedoitWolf(assume_centered=True).fit(within(reference.inputs, reference.targets[:, 0])).covariance_
        return x @ np.linalg.inv(np.linalg.cholesky(covariance)).T

    def view(v, of=outputs):
        inputs, white = reference.inputs, whitened(reference.inputs)
        parts = of.inputs / spread(inputs), of.features[:, v] / features, whitened(of.inputs) / spread(white)
        return np.hstack(parts[:2] if long else parts)

    def spread(x):
        return np.sqrt(np.trace(np.cov(x.T, ddof=0)))

    features = np.mean([spread(reference.features[:, v]) for v in range(VIEWS)])
    expected = np.mean([cdist(view(v), view(v, reference)).min(1) for v in range(VIEWS)], 0)
    score = SCORES["joint-neighbours"].compute
    unlabelled = replace(outputs, targets=None)
    assert_allclose(score(unlabelled, reference, 1.0), expected, atol=1e-6)
    # Whatever units inputs and features are in, all count the same.
    scaled = [replace(of, inputs=of.inputs * 99, features=of.features / 99) for of in (unlabelled, reference)]
    assert_allclose(score(*scaled, 1.0), expected, atol=1e-6)
    assert (score(outputs, reference, 1.0) >= expected - 1e-6).all()


def test_relative_mahalanobis_is_that_to_the_class_less_that_to_all(draw):
    classes = np.repeat([0, 1, 2], 30)
    reference, features = draw.normal(size=(90, D)) + 4 * np.eye(3, D)[classes], draw.normal(size=(N, D)) * 3

    def outputs(f, targets=None):
        return Outputs(np.zeros((len(f), 1, 3)), f[:, None], None if targets is None else targets[:, None])

    score = SCORES["relative-mahalanobis"].compute
    normal = outputs(reference, classes)
    expected = functions.mahalanobis(features, reference, classes) - EmpiricalCovariance().fit(reference).mahalanobis(
        features
    )
    assert_allclose(score(outputs(features), normal, 1.0), expected)
    assert_allclose(score(outputs(features), replace(normal, targets=np.zeros((90, 1), int)), 1.0), 0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(COMBINED))
def test_a_combination_has_its_parts_for_columns(draw, name):
    members, references = ([outputs_of(draw, n) for _ in range(2)] for n in (N, 60))
    columns = SCORES[name].columns(members, references, 2.0)
    for column, part in zip(columns.T, SCORES[name].parts, strict=True):
        assert_array_equal(column, SCORES[part](members, references, 2.0))
    assert_array_equal(SCORES["msp"].columns(members, None, 2.0)[:, 0], SCORES["msp"](members, None, 2.0))


def test_what_reads_the_softmax_counts_the_more_the_more_classes_it_rules_out():
    combined = SCORES["combined"]
    assert dict(zip(combined.parts, combined.weights(2.0, 4), strict=True)) == {
        "view-neighbours": 1,
        "hellinger-neighbours": 1 / 16,
        "likelihood": 1 / 16,
    }
    assert combined.weights(4, 4).tolist() == [1, 0, 0]
    assert combined.weights(1, 24)[1] > combined.weights(1, 4)[1]
    assert SCORES["msp"].weights(4, 4).tolist() == [1]


# --- Refusals --------------------------------------------------------------------------------------------


def test_target_nll_refuses_samples_without_labels(draw):
    with pytest.raises(InputError, match="pass the labels"):
        SCORES["target-nll"].compute(outputs_of(draw, 3, views=1, known=False), None, 1.0)


@pytest.mark.parametrize("name", sorted(USES_REFERENCE))
def test_scores_that_compare_refuse_to_do_so_with_nothing(draw, name):
    for reference in (None, outputs_of(draw, 3, known=False)):
        with pytest.raises(InputError, match="pass their Outputs, targets included"):
            SCORES[name].compute(outputs_of(draw, 3), reference, 1.0)


@pytest.mark.parametrize("name", sorted(USES_REFERENCE))
def test_scores_that_compare_refuse_a_label_without_normal_samples(draw, name):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    without_label_0 = reference[reference.targets[:, 0] != 0]
    with pytest.raises(InputError, match="label"):
        SCORES[name].compute(outputs, without_label_0, 1.0)


def test_joint_neighbours_refuse_outputs_without_inputs(draw):
    full, bare = outputs_of(draw, 3), replace(outputs_of(draw, 3), inputs=None)
    for outputs, reference in ((bare, full), (full, bare)):
        with pytest.raises(InputError, match="with inputs"):
            SCORES["joint-neighbours"].compute(outputs, reference, 1.0)


@pytest.mark.parametrize("name", sorted(COMBINED))
def test_a_combination_is_not_computed_alone(draw, name):
    with pytest.raises(InputError, match="`columns` gives its parts"):
        SCORES[name].compute(outputs_of(draw, 3), outputs_of(draw, 3), 1.0)
