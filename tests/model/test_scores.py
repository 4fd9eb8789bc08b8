"""Every score against a reference implementation, its laws, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp as reference_logsumexp
from scipy.special import softmax as reference_softmax
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA

from oddkind import SCORES, InputError, Outputs, Score, neighbours
from oddkind.model import formulas
from oddkind.model.combining import combined
from oddkind.model.conformal import p_values
from oddkind.model.outputs import logsumexp, pooled, softmax
from oddkind.model.scores import (
    Combination,
    components_of,
    learn_score,
    reference_rows,
    resolve_score,
    softmax_share,
)
from oddkind.model.task import Task

N, LABELS, VIEWS, D = 23, 3, 4, 5
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
    *(
        DISTANCES := {
            name for name in SCORES if name.removesuffix("-to-all").endswith("-distance") and "rot" not in name
        }
    ),
}
JOINS_VIEWS = {
    *("likelihood", "joint-neighbours", "view-neighbours", "hellinger-neighbours", "local-input-neighbours"),
    "joint-mahalanobis",
    *DISTANCES,
}
COMPARES_INPUTS = {"local-input-neighbours", *(name for name in DISTANCES if "feature" not in name)}
TO_ALL = {name for name in DISTANCES if name.endswith("-to-all")}
COMBINED = {"combined", "combined-with-input", "combined-logs", "fused-distances", "fused-input-distances"}
SINGLE = [name for name in SCORES if name not in COMBINED]


def outputs_of(draw, n, *, views=VIEWS, known=True):
    targets = draw.integers(LABELS, size=(n, 1)) * views + np.arange(views)
    logits = draw.normal(size=(n, views, LABELS * views)) * 3
    return Outputs(logits, draw.normal(size=(n, views, D)), targets if known else None, draw.normal(size=(n, D)))


def learnt(score, normal, temperature=1.0):
    """What a score, or the one of that name, learns from normal samples."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.learn(normal, temperature) if score.learn else {}


def scored(score, outputs, normal=None, temperature=1.0):
    """The score, or the one of that name, of samples beside normal ones."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.compute(outputs, learnt(score, normal, temperature), temperature)


# --- the same tests for every score ---


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


def test_the_share_of_the_softmax_grows_with_the_classes_that_it_rules_out():
    score = SCORES["combined"]
    assert softmax_share(score, 4.0, 4) == 0
    weight = 0.75**4  # of each of its two scores made of the softmax, beside one that is not
    assert softmax_share(score, 1.0, 4) == pytest.approx(2 * weight / (1 + 2 * weight))
    for name, share in (("msp", 1), ("mahalanobis", 0)):
        assert softmax_share(SCORES[name], 4.0, 4) == share


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
    )
    normal = reference[:1]
    odd = Outputs(np.zeros_like(normal.logits), np.tile(directions[2], (1, VIEWS, 1)), normal.targets, directions[2:])
    both = [Outputs(o.logits, o.features + 1e-3, o.targets if known else None, o.inputs + 1e-3) for o in (normal, odd)]
    low, high = (scored(name, outputs, reference)[0] for outputs in both)
    assert low < high


@pytest.mark.parametrize("name", sorted({*SINGLE} - NEEDS_ROTATIONS - JOINS_VIEWS))
def test_the_views_of_a_sample_are_averaged(draw, name):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)

    def view(of, v):
        return Outputs(of.logits[:, v : v + 1], of.features[:, v : v + 1], of.targets[:, v : v + 1])

    per_view = [scored(name, view(outputs, v), view(reference, v), 2.0) for v in range(VIEWS)]
    assert_allclose(scored(name, outputs, reference, 2.0), np.mean(per_view, 0), atol=1e-6)


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

    score, unlabelled = neighbours(k, metric), Outputs(outputs.logits, outputs.features)
    assert_allclose(scored(score, outputs, reference), by_hand(known=True), atol=1e-6)
    assert_allclose(scored(score, unlabelled, reference), by_hand(known=False), atol=1e-6)


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
        for known, distance in ((None, apart), (outputs.targets, np.where(same, apart, np.inf))):
            expected = np.sort(distance, axis=1)[:, :5].mean(1)
            found = scored(name, replace(outputs, targets=known), reference, temperature)
            assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_target_nll_sums_over_the_labels_when_only_the_transform_is_known(draw, temperature):
    outputs = outputs_of(draw, N, known=False)
    p = reference_softmax(outputs.logits / temperature, axis=-1)
    expected = [
        np.mean([-np.log(sum(p[n, v, label * VIEWS + v] for label in range(LABELS))) for v in range(VIEWS)])
        for n in range(N)
    ]
    assert_allclose(scored("target-nll", outputs, None, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_rotation_scores_sum_over_the_labels(draw, temperature):
    outputs = outputs_of(draw, N)
    p = reference_softmax(outputs.logits / temperature, axis=-1).reshape(N, VIEWS, LABELS, VIEWS).sum(2)
    turns, apart = np.arange(4), formulas.circular_distance(4)
    assert_allclose(reference_softmax(outputs.transform_logits(), axis=-1).sum(-1), 1)
    found = scored("expected-rotation-distance", outputs, None, temperature)
    assert_allclose(found, (p * apart).sum(-1).mean(1))
    if temperature == 1:
        expected = apart[p.argmax(-1), turns].mean(1)
        assert_array_equal(scored("rotation-distance", outputs, None, temperature), expected)


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
    of_the_label = expected[np.arange(N), outputs.targets[:, 0] // VIEWS]
    assert_allclose(scored("likelihood", outputs, reference, temperature), of_the_label)
    assert_allclose(scored("likelihood", replace(outputs, targets=None), reference, temperature), expected.min(1))


def test_a_label_that_is_hard_for_normal_samples_too_is_held_to_less(draw):
    label = np.repeat([0, 1], 50)
    # Label 1 is half as likely as not, even for its own: label 0 never errs.
    sure = np.where(label == 0, 9.0, draw.normal(0, 1, size=100))
    logits = np.where(np.arange(2) == label[:, None], sure[:, None], 0)[:, None]
    reference = Outputs(logits + 0.01 * draw.normal(size=logits.shape), logits, label[:, None])
    torn, odd = np.array([[[0.0, 0.0]]]), np.array([[[7.0, 0.0]]])
    p = softmax(logits)
    usual = np.stack([p[label == 0].mean(0), p[label == 1].mean(0)])
    nll_of_torn, nll_of_odd = (formulas.label_nll(z, np.log(usual))[0].min() for z in (torn, odd))
    assert nll_of_torn > nll_of_odd
    low, high = (scored("likelihood", Outputs(z, z), reference)[0] for z in (torn, odd))
    assert low < high


def test_classes_that_normal_samples_are_taken_for_are_as_good_as_the_true_one(draw):
    sure = 9.0 * np.eye(4)[None]  # every view is taken for what it is
    upside_down = sure[:, [2, 3, 0, 1]]
    usual = (softmax(sure) + softmax(upside_down)) / 2
    sideways = sure[:, [1, 2, 3, 0]]
    nll = [formulas.label_nll(logits, np.log(usual))[0, 0] for logits in (sure, upside_down, sideways)]
    assert nll[0] == pytest.approx(nll[1])
    assert nll[2] > nll[0] + 3
    logits = draw.normal(size=(N, 4, 4)) * 2
    expected = formulas.target_nll(logits, np.tile(np.arange(4), (N, 1))).mean(1)
    sure = np.where(np.eye(4) == 1, 0, -np.inf)[None]
    assert_allclose(formulas.label_nll(logits, sure)[:, 0], expected)


def test_likelihood_of_the_surest_network_is_finite(draw):
    label = np.repeat([0, 1], 30)
    logits = 1e4 * np.eye(2)[label][:, None] + draw.normal(size=(60, 1, 2))
    scores = scored("likelihood", Outputs(-logits, logits), Outputs(logits, logits, label[:, None]), 0.05)
    assert np.isfinite(scores).all()


def within(x, classes):
    """x minus the mean of its class."""
    return x - np.array([x[classes == kind].mean(0) for kind in classes])


@pytest.mark.parametrize("long", [False, True])
def test_joint_neighbours_compare_inputs_whitened_unless_long_and_features_scaled_alike(draw, monkeypatch, long):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    monkeypatch.setattr("oddkind.model.scores.MAX_WHITENED_FEATURES", D - long)

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
    unlabelled = replace(outputs, targets=None)
    assert_allclose(scored("joint-neighbours", unlabelled, reference), expected, atol=1e-6)
    # Whatever units inputs and features are in, all count the same.
    scaled = [replace(of, inputs=of.inputs * 99, features=of.features / 99) for of in (unlabelled, reference)]
    assert_allclose(scored("joint-neighbours", *scaled), expected, atol=1e-6)
    assert (scored("joint-neighbours", outputs, reference) >= expected - 1e-6).all()


def of_features(features, index=None, logits=None):
    """Outputs in one view, with these features."""
    logits = np.zeros((len(features), 3)) if logits is None else logits
    return Outputs(logits[:, None], features[:, None], None if index is None else index[:, None])


def test_mahalanobis_of_one_class_is_scikit_learns(draw):
    normal, features = draw.normal(size=(60, D)) @ draw.normal(size=(D, D)), draw.normal(size=(N, D)) * 3
    expected = EmpiricalCovariance().fit(normal).mahalanobis(features)
    normal = of_features(normal, np.zeros(60, int))
    assert_allclose(scored("mahalanobis", of_features(features), normal), expected)
    assert_allclose(scored("mahalanobis", of_features(features, np.zeros(N, int)), normal), expected)


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2, 7)])
def test_mahalanobis_uses_the_shared_covariance_or_that_of_the_known_label(draw, classes):
    index = np.repeat(classes, 30)
    normal = draw.normal(size=(90, D)) * (1 + index[:, None]) + 5 * draw.normal(size=(8, D))[index]
    features, claimed = draw.normal(size=(N, D)) * 5, draw.choice(classes, N)
    centres = np.array([normal[index == number].mean(0) for number in classes])
    within = np.cov((normal - np.repeat(centres, 30, axis=0)).T, ddof=0)
    shared = cdist(features, centres, "mahalanobis", VI=np.linalg.inv(within)).min(1) ** 2
    assert_allclose(scored("mahalanobis", of_features(features), of_features(normal, index)), shared)
    own = {number: EmpiricalCovariance().fit(normal[index == number]).mahalanobis(features) for number in classes}
    found = scored("mahalanobis", of_features(features, claimed), of_features(normal, index))
    assert_allclose(found, [own[number][row] for row, number in enumerate(claimed)])


@pytest.mark.parametrize("views", [1, VIEWS])
def test_joint_mahalanobis_is_that_of_inputs_beside_mean_features_with_one_covariance(draw, views):
    normal, outputs = outputs_of(draw, 200, views=views), outputs_of(draw, N, views=views)
    index = normal.targets[:, 0] // views
    rows, new = (np.hstack([some.inputs, some.features.mean(1)]) for some in (normal, outputs))
    centres = np.array([rows[index == number].mean(0) for number in range(LABELS)])
    within = np.cov((rows - centres[index]).T, ddof=0)
    apart = cdist(new, centres, "mahalanobis", VI=np.linalg.inv(within)) ** 2
    claimed = outputs.targets[:, 0] // views
    assert_allclose(scored("joint-mahalanobis", outputs, normal), apart[np.arange(N), claimed], rtol=1e-4)
    unknown = replace(outputs, targets=None)
    assert_allclose(scored("joint-mahalanobis", unknown, normal), apart.min(1), rtol=1e-4)


def test_joint_mahalanobis_keeps_no_sample_and_needs_few_of_a_label(draw):
    few, many = (outputs_of(draw, n, views=1) for n in (60, 600))
    sizes = [sum(array.nbytes for array in learnt("joint-mahalanobis", some).values()) for some in (few, many)]
    assert sizes[0] == sizes[1]
    own = few[few.targets[:, 0] != 0]
    one = few[np.flatnonzero(few.targets[:, 0] == 0)[:1]]
    both = Outputs(
        *(
            np.concatenate([getattr(some, name) for some in (own, one)])
            for name in ("logits", "features", "targets", "inputs")
        )
    )
    assert scored("joint-mahalanobis", one, both)[0] == pytest.approx(0, abs=1e-9)


def test_relative_mahalanobis_is_that_to_the_class_minus_that_to_all(draw):
    index = np.repeat([0, 1, 2], 30)
    normal, features = draw.normal(size=(90, D)) + 4 * np.eye(3, D)[index], draw.normal(size=(N, D)) * 3
    overall = EmpiricalCovariance().fit(normal).mahalanobis(features)
    for claimed in (None, draw.integers(3, size=N)):
        outputs, known = of_features(features, claimed), of_features(normal, index)
        expected = scored("mahalanobis", outputs, known) - overall
        assert_allclose(scored("relative-mahalanobis", outputs, known), expected)
    one_class = of_features(normal, np.zeros(90, int))
    assert_allclose(scored("relative-mahalanobis", of_features(features), one_class), 0, atol=1e-9)


@pytest.mark.parametrize("size", [4, 5, 1])
@pytest.mark.parametrize("known", [True, False])
def test_vim_is_the_residual_of_a_pca_minus_the_logits(draw, size, known):
    index, claimed = np.repeat([0, 1], 30), draw.integers(2, size=N)
    normal, features = draw.normal(size=(60, size)) * np.arange(1, size + 1), draw.normal(size=(N, size)) * 4
    usual, logits = draw.normal(size=(60, 3)) + 5, draw.normal(size=(N, 3))

    def expected(own, some):
        pca = PCA(-(-size // 2)).fit(normal[own])
        left_over = [np.linalg.norm(x - pca.inverse_transform(pca.transform(x)), axis=1) for x in (normal[own], some)]
        return usual[own].max(1).mean() / left_over[0].mean() * left_over[1] if size > 1 else np.zeros(len(some))

    residual = expected(index >= 0, features)
    if known:
        residual = np.stack([expected(index == number, features) for number in (0, 1)])[claimed, np.arange(N)]
    found = scored("vim", of_features(features, claimed if known else None, logits), of_features(normal, index, usual))
    assert_allclose(found, residual - reference_logsumexp(logits, axis=1))


def test_vim_scores_directions_that_hardly_vary_and_those_that_never_do_higher(draw):
    normal = np.hstack([draw.normal(size=(60, 4)) * [9, 8, 1, 1], np.zeros((60, 3))])
    features = np.vstack([np.zeros(7), np.eye(7)]) * 3
    known = of_features(normal, np.zeros(60, int), np.ones((60, 2)))
    scores = scored("vim", of_features(features, logits=np.zeros((8, 2))), known)
    assert (scores[[1, 2]] < scores[3:].min()).all()
    assert scores[5:] == pytest.approx(scores[5], rel=0.2)


def test_vim_of_features_that_never_vary_is_that_of_the_logits_alone(draw):
    logits = draw.normal(size=(N, 3))
    known = of_features(np.ones((60, 2)), np.zeros(60, int), draw.normal(size=(60, 3)))
    assert_allclose(scored("vim", of_features(np.ones((N, 2)), logits=logits), known), -logsumexp(logits, axis=1))


def test_local_input_neighbours_are_squared_distances_in_relation_to_those_among_normal_samples(draw):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    among = cdist(reference.inputs, reference.inputs)
    usual = np.sort(among, axis=1)[:, 1:9].mean(1)
    apart = cdist(outputs.inputs, reference.inputs)
    same = outputs.targets[:, :1] == reference.targets[:, 0]
    for known, distance in ((None, apart), (outputs.targets, np.where(same, apart, np.inf))):
        nearest = np.argsort(distance, axis=1)[:, :5]
        expected = (np.take_along_axis(distance, nearest, 1) ** 2 / usual[nearest]).mean(1)
        found = scored("local-input-neighbours", replace(outputs, targets=known), reference)
        assert_allclose(found, expected, rtol=1e-6)


def test_of_large_pictures_some_numbers_are_compared(draw, monkeypatch):
    monkeypatch.setattr("oddkind.model.scores.MAX_COMPARED_NUMBERS", 3)
    outputs, reference = (replace(outputs_of(draw, n, known=True)) for n in (N, 60))
    some = [replace(one, inputs=one.inputs[:, [0, 2, 4]]) for one in (outputs, reference)]
    assert_array_equal(scored("local-input-neighbours", outputs, reference), scored("local-input-neighbours", *some))


def test_pictures_are_compared_as_the_bytes_that_they_are(draw):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    pictures, normal = (
        replace(one, inputs=draw.integers(256, size=(len(one), 9)).astype(np.uint8)) for one in (outputs, reference)
    )
    as_numbers = [replace(one, inputs=one.inputs.astype(float)) for one in (pictures, normal)]
    assert learnt("local-input-neighbours", normal)["reference"].dtype == np.uint8
    found = scored("local-input-neighbours", pictures, normal)
    assert_allclose(found, scored("local-input-neighbours", *as_numbers), rtol=1e-6)


@pytest.mark.parametrize("name", ["view-neighbours", "hellinger-neighbours"])
@pytest.mark.parametrize("n", [1, 3])
def test_with_fewer_than_5_normal_samples_all_are_neighbours(draw, name, n):
    outputs, normal = outputs_of(draw, N, known=False), outputs_of(draw, n)
    each = [scored(name, outputs, normal[[row]]) for row in range(n)]
    assert_allclose(scored(name, outputs, normal), np.mean(each, 0), rtol=1e-5)


# --- several networks, several scores ---


@pytest.mark.parametrize("name", SINGLE)
def test_several_networks_are_pooled_as_the_score_says(draw, name):
    score, new, normal = SCORES[name], *([outputs_of(draw, n) for _ in range(2)] for n in (N, 60))
    found = learn_score(name, score, normal, 2.0)(new, 2.0)
    assert found.shape == (N, 1)
    if score.pool == "probability":
        expected = score.compute(pooled(new, 2.0), {}, 1.0)
    elif score.pool == "logit":
        expected = score.compute(replace(new[0], logits=(new[0].logits + new[1].logits) / 2), {}, 2.0)
    else:
        expected = np.mean([scored(name, *pair, 2.0) for pair in zip(new, normal, strict=True)], 0)
    assert_allclose(found[:, 0], expected, rtol=1e-12)
    assert not score.learn or score.pool == "score"  # what is pooled has learnt nothing


@pytest.mark.parametrize("name", sorted(COMBINED))
def test_a_combination_has_a_column_for_each_of_its_scores(draw, name):
    new, normal = ([outputs_of(draw, n) for _ in range(2)] for n in (N, 60))
    fitted = learn_score(name, SCORES[name], normal, 2.0, 2.0, 12)
    assert [SCORES[part] for part in SCORES[name].components] == list(fitted.components)
    columns = fitted(new, 2.0)
    counts = fitted.fuse.counts(fitted.weights)
    assert counts.any()
    for column, part, own, counted in zip(columns.T, SCORES[name].components, fitted.learnt, counts, strict=True):
        if not counted:  # it is neither kept nor computed
            assert (own, column.tolist()) == (({}, {}), [0] * N)
            continue
        alone = learn_score(part, SCORES[part], normal, 2.0)
        assert_array_equal(column, alone(new, 2.0)[:, 0])


def test_the_softmax_counts_the_more_the_more_classes_it_rules_out():
    score = SCORES["combined"]
    assert dict(zip(score.components, score.fuse.weights(2.0, 4), strict=True)) == {
        "view-neighbours": 1,
        "hellinger-neighbours": 1 / 16,
        "likelihood": 1 / 16,
    }
    assert score.fuse.weights(4, 4).tolist() == [1, 0, 0]
    assert score.fuse.weights(1, 24)[1] > score.fuse.weights(1, 4)[1]


def test_the_softmax_counts_less_where_it_hesitates_between_labels_and_the_input_counts_in_its_place():
    fuse = SCORES["combined-with-input"].fuse
    features, hellinger, likelihood, inputs = fuse.weights(2.0, 8, 1.5)
    assert (features, hellinger, likelihood) == (1, 0.5**4, 0.5**4)
    assert inputs == (1 - 0.5**4) ** 2 / 2
    assert fuse.weights(8, 8, 2.0).tolist() == [1, 0, 0, 0.5]


def test_a_score_of_ones_own_learns_once_and_scores_by_what_it_learnt(draw):
    learnt_from = []

    def learn(normal, temperature):
        learnt_from.append((len(normal), temperature))
        return {"centre": normal.features.mean((0, 1))}

    own = Score(
        "‖f − mean f‖", lambda o, arrays, _: np.linalg.norm(o.features - arrays["centre"], axis=2).sum(1), learn
    )
    fitted = learn_score(None, own, [outputs_of(draw, 60)], 2.0)
    assert (fitted.name, fitted.own, fitted.components) == (None, own, (own,))
    for n in (1, N):
        assert fitted([outputs_of(draw, n)], 2.0).shape == (n, 1)
    assert learnt_from == [(60, 2.0)]


def test_auto_stands_for_a_score_that_suits_the_shape():
    assert [resolve_score("auto", shape, with_labels=False)[0] for shape in ((3,), (2, 9), (1, 8, 8))] == [
        "fused-input-distances",
        "joint-neighbours",
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


def test_of_many_normal_samples_some_are_compared_with(monkeypatch):
    rows = np.arange(0, 300, 3)
    assert reference_rows(rows) is rows
    monkeypatch.setattr("oddkind.model.scores.MAX_REFERENCE_ROWS", 7)
    some = reference_rows(rows)
    assert (len(some), some[0], some[-1]) == (7, 0, 297)
    assert np.ptp(np.diff(some)) <= 3
    assert np.isin(some, rows).all()


# --- refusals ---


@pytest.mark.parametrize(("network", "what"), [("local", "'local'"), (None, "'your own'")])
def test_a_score_of_places_refuses_a_network_without_them(network, what):
    with pytest.raises(InputError, match=f"'changed-place' needs the network 'unet'; the network is {what}"):
        resolve_score("changed-place", (1, 16, 16), with_labels=False, network=network)


def test_a_changed_place_is_the_first_feature(draw):
    outputs = outputs_of(draw, N)
    assert_allclose(scored("changed-place", outputs), outputs.features[:, :, 0].mean(1))


def test_target_nll_refuses_samples_without_labels(draw):
    with pytest.raises(InputError, match="pass the labels"):
        scored("target-nll", outputs_of(draw, 3, views=1, known=False))


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


def test_joint_neighbours_refuse_outputs_without_inputs(draw):
    full, bare = outputs_of(draw, 3), replace(outputs_of(draw, 3), inputs=None)
    for outputs, normal in ((bare, full), (full, bare)):
        with pytest.raises(InputError, match="with inputs"):
            scored("joint-neighbours", outputs, normal)


@pytest.mark.parametrize("k", [0, -1])
def test_neighbours_refuse_a_number_below_1(k):
    with pytest.raises(InputError, match=rf"k={k}; it must be at least 1"):
        neighbours(k)


def test_neighbours_refuse_more_neighbours_than_there_are(draw):
    normal, outputs = outputs_of(draw, 6), outputs_of(draw, 2, known=False)
    assert np.isfinite(scored(neighbours(6), outputs, normal)).all()
    with pytest.raises(InputError, match="k=7; 6 normal samples allow 1 to 6"):
        scored(neighbours(7), outputs, normal)


def test_neighbours_refuse_an_unknown_metric():
    with pytest.raises(InputError, match="metric='manhattan'; known are 'cosine' and 'euclidean'"):
        neighbours(metric="manhattan")


# --- distances and the evidence made of them ---


@pytest.mark.parametrize("name", sorted(DISTANCES))
@pytest.mark.parametrize("known", [True, False])
def test_distances_are_those_of_scipy(draw, name, known):
    outputs, normal = outputs_of(draw, N, views=1, known=known), outputs_of(draw, 60, views=1)
    own, others = (o.features[:, 0] if "feature" in name else o.inputs for o in (outputs, normal))
    label = np.zeros(60, int) if "to-all" in name else normal.targets[:, 0]
    if "input" not in name:
        means = np.stack([others[label == one].mean(0) for one in range(label.max() + 1)])
        covariance = LedoitWolf(assume_centered=True).fit(others - means[label]).covariance_
        root = np.linalg.cholesky(np.linalg.inv(covariance))
        own, others = own @ root, others @ root
    apart = cdist(own, others)
    if "local" in name:
        inner = np.where(label[:, None] == label, cdist(others, others), np.inf)
        apart /= np.sort(inner, axis=1)[:, 1:9].mean(1)
    if known and "to-all" not in name:
        apart = np.where(outputs.targets == label, apart, np.inf)
    assert_allclose(scored(name, outputs, normal), apart.min(1), rtol=1e-5)


def test_with_many_normal_samples_the_3_nearest_count(draw):
    outputs, normal = outputs_of(draw, N, known=False), outputs_of(draw, 1001)
    nearest = np.sort(cdist(outputs.inputs, normal.inputs), axis=1)[:, :3]
    assert_allclose(scored("input-distance", outputs, normal), nearest.mean(1), rtol=1e-5)


# --- held-out samples to compare with ---

FUSED = ["fused-distances", "fused-input-distances"]
TASK = Task(np.arange(LABELS), ("0",), 1)


def fitted_and_held_out(draw, name, n=9, n_learnt=60):
    """A score learnt from some samples, and outputs of n held-out ones; every label is among both."""
    normal, held_out = (outputs_of(draw, size, views=1) for size in (n_learnt, n))
    normal.targets[:LABELS, 0] = held_out.targets[:LABELS, 0] = range(LABELS)
    return learn_score(name, SCORES[name], [normal], 1.0, 1.0, LABELS), held_out


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", [*sorted(DISTANCES), *FUSED, "combined-logs", "msp"])
def test_a_held_out_sample_is_scored_as_if_it_were_new_to_all_others(draw, name, grouped, with_labels):
    fitted, held_out = fitted_and_held_out(draw, name)
    groups = np.array([5, 5, 5, 7, 7, 1, 1, 2, 3]) if grouped else np.arange(9)
    extended, given = fitted.extended([held_out]), groups if grouped else None
    found = extended.of_held_out([held_out], given, 1.0, TASK, with_labels=with_labels)
    for row, group in enumerate(groups):
        own = held_out[[row]]
        own = own if with_labels else replace(own, targets=None)
        expected = fitted.extended([held_out[groups != group]])([own], 1.0)
        assert_allclose(found[[row]], expected, rtol=1e-5)


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("name", [*sorted(DISTANCES), *FUSED])
def test_a_copy_of_a_held_out_sample_is_not_compared_with_that_one(draw, name, with_labels):
    fitted, held_out = fitted_and_held_out(draw, name)
    held_out.inputs[4], held_out.features[4], held_out.targets[4] = 0.0, held_out.features[2], held_out.targets[2]
    held_out.inputs[2] = -0.0
    extended = fitted.extended([held_out])
    known = held_out if with_labels else replace(held_out, targets=None)
    found = extended.of_held_out([held_out], np.arange(9), 1.0, TASK, with_labels=with_labels)
    assert_allclose(extended([known], 1.0), found, rtol=1e-5)
    assert_array_equal(found[2], found[4])
    assert (found[:, fitted.fuse.counts(fitted.weights)] > 1e-3).all()


@pytest.mark.parametrize("name", ["input-distance", "input-distance-to-all"])
def test_with_held_out_samples_it_is_the_score_that_would_be_learnt_from_all(draw, name):
    normal, others, new = (outputs_of(draw, n, views=1) for n in (60, 9, N))
    both = Outputs(*(np.concatenate([getattr(o, field) for o in (normal, others)]) for field in vars(normal)))
    found = learn_score(name, SCORES[name], [normal], 1.0).extended([others])([new], 1.0)
    assert_array_equal(found, learn_score(name, SCORES[name], [both], 1.0)([new], 1.0))


def test_held_out_samples_change_no_weight_and_are_left_out_where_nothing_counts(draw):
    fitted, held_out = fitted_and_held_out(draw, "fused-distances")
    extended = fitted.extended([held_out])
    assert_array_equal(extended.weights, fitted.weights)
    for before, after in zip(fitted.learnt, extended.learnt, strict=True):
        assert before[0].keys() <= after[0].keys()
        assert not after[0] or len(after[0]["reference"]) == len(before[0]["reference"]) + 9


def test_a_held_out_sample_of_a_label_that_was_not_learnt_is_refused(draw):
    fitted, held_out = fitted_and_held_out(draw, "input-distance")
    held_out.targets[4] = LABELS
    with pytest.raises(InputError, match=r"^there is no normal sample of label 3 to compare with$"):
        fitted.extended([held_out])


def test_p_values_of_samples_that_are_compared_with_each_other_are_valid(draw):
    """A tenth too few alarms or more would be lost power, one too many a broken promise."""
    fuse, n, p = SCORES["fused-input-distances"].fuse, 9, []
    for _ in range(600):
        fitted, held_out = fitted_and_held_out(draw, "fused-input-distances", n, n_learnt=12)
        extended = fitted.extended([held_out])
        normal, new = (
            combined(components, components, fitted.weights, fuse)
            for components in (
                extended.of_held_out([held_out], None, 1.0, TASK, with_labels=False),
                extended([outputs_of(draw, 40, views=1, known=False)], 1.0),
            )
        )
        p.append((p_values(new, normal) <= 0.1 + 1e-9).mean())
    assert 0.07 < np.mean(p) < 0.1 + 3 * np.std(p) / len(p) ** 0.5


def evidence(draw, size, n, perplexity=1.0, groups=None):
    """Names of the distances of which the largest, and of those of which the mean counts."""
    targets = draw.integers(2, size=(n, 1))
    inputs = (draw.normal(size=(n, size)) + 50 * targets).astype(np.float32)
    outputs = Outputs(draw.normal(size=(n, 1, 2)), draw.normal(size=(n, 1, 3)), targets, inputs)
    score = SCORES["fused-distances"]
    found = learn_score("fused-distances", score, [outputs], 1.0, perplexity, 2, groups).weights.reshape(5, -1)
    return [[name for name, one in zip(score.components, row, strict=True) if one] for row in found[:2]]


NAMES = list(SCORES["fused-distances"].components)
FAR, LOCAL = NAMES[:5], [NAMES[0], *NAMES[5:]]


def test_the_number_of_dimensions_decides_which_distances_count(draw):
    assert evidence(draw, 3, 200) == [FAR, []]
    assert evidence(draw, 90, 400) == [[], LOCAL]


def test_evidence_leaves_out_what_was_not_learnt_and_what_too_few_samples_tell(draw):
    assert evidence(draw, 3, 200, perplexity=1.6)[0] == [name for name in FAR if "feature" not in name]
    assert evidence(draw, 90, 400, perplexity=1.6)[1] == [name for name in LOCAL if "feature" not in name]
    assert evidence(draw, 90, 80)[1] == ["input-distance", "whitened-distance", "feature-distance"]
    assert evidence(draw, 90, 80, perplexity=1.6)[1] == ["input-distance", "whitened-distance"]
    # A network knows the groups that it was trained with.
    grouped = evidence(draw, 3, 200, groups=np.arange(200) // 20)
    assert grouped == [[name for name in FAR if "feature" not in name], []]
