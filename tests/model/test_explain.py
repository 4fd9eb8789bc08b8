"""Explanations of samples whose anomaly is known, laws that all explanations obey, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick, signals
from scipy.special import log_softmax, softmax
from sklearn.exceptions import NotFittedError

from oddkind import CrossConformal, Detector, InputError, explain, load
from oddkind.model.conformal import p_values, tie_bound
from oddkind.model.explain import MAX_PARTS, N_NEIGHBOURS, parts_of

MARK = 5


def marked(n=14, seed=7):
    """Pictures of `problems.pictures`, each with an inverted square [5, 5], and where the square is."""
    inputs, _ = pictures(n, seed)
    draw, where = np.random.default_rng(seed), np.zeros((n, 14, 14), bool)
    for own, (y, x) in zip(where, draw.integers(14 - MARK, size=(n, 2)), strict=True):
        own[y : y + MARK, x : x + MARK] = True
    inputs[:, 0][where] = np.where(inputs[:, 0][where] > 127, 0, 255)
    return inputs, where


@pytest.fixture(scope="module")
def of_pictures():
    return quick(epochs=15, false_alarm_rate=0.1).fit(*pictures())


@pytest.fixture(scope="module")
def of_vectors():
    return quick(epochs=30).fit(*kinds())


@pytest.fixture(scope="module")
def of_folds():
    return CrossConformal(quick(epochs=10), folds=3).fit(*kinds(120))


def maps(explanations):
    return np.stack([explanation.evidence for explanation in explanations])


# --- known answers ---


def test_evidence_lies_on_a_planted_mark(of_pictures):
    inputs, where = marked()
    explanations = of_pictures.explain(inputs)
    evidence = maps(explanations)
    assert np.mean([where[n].ravel()[evidence[n].argmax()] for n in range(len(where))]) > 0.6  # by chance 0.13
    top = np.argsort(-evidence.reshape(len(where), -1), axis=1)[:, : MARK**2]
    assert np.take_along_axis(where.reshape(len(where), -1), top, 1).mean() > 3 * MARK**2 / 14**2
    assert np.mean([explanation.p_value for explanation in explanations]) < 0.1


def test_the_feature_that_is_off_has_the_evidence(of_vectors):
    inputs, labels = kinds(10, seed=5)
    inputs[:, 3] = 15
    for found, label in zip(of_vectors.explain(inputs, labels), labels, strict=True):
        assert found.evidence.argmax() == 3
        assert found.claimed == label
        assert {near.label for near in found.neighbours} == {label}


def test_a_wrong_claim_shows_as_another_label():
    inputs, labels = kinds(600)
    detector = Detector(task="labels", random_state=0, epochs=20).fit(inputs, labels)
    new, truth = kinds(40, seed=3)
    claimed = (truth + 1) % 3
    found = detector.explain(new, claimed)
    assert [one.claimed for one in found] == claimed.tolist()
    assert np.mean([one.looks_like == label for one, label in zip(found, truth, strict=True)]) > 0.95
    right = detector.explain(new, truth)
    assert np.mean([one.p_value for one in found]) < 0.05 < np.mean([one.p_value for one in right])


def test_the_channel_and_the_time_of_an_anomaly_are_found():
    detector = quick(epochs=10).fit(signals())
    odd = signals(10, seed=3)
    odd[:, 1, 32:40] += 3
    evidence = maps(detector.explain(odd))
    assert_array_equal(evidence.sum(2).argmax(1), np.ones(10))
    assert np.isin(evidence[:, 1].argmax(1), np.arange(24, 48)).all()


def test_views_that_are_taken_for_others_fail(of_pictures):
    inputs, _ = pictures(12, seed=3)
    upright, turned = of_pictures.explain(inputs), of_pictures.explain(np.ascontiguousarray(inputs[..., ::-1, ::-1]))
    assert np.mean([len(found.failing) / 4 for found in upright]) < 0.3  # 0.1 promised, of new normal samples
    assert all(len(found.failing) == 4 for found in turned)
    assert turned[0].views[0].name == "as it is"
    assert "as it is" not in {found.views[0].taken_for for found in turned}


def test_parts_of_ones_own_are_replaced_together(of_vectors):
    inputs, labels = kinds(5, seed=4)
    inputs[:, 2:] += 10
    parts = np.array([[True, True, False, False], [False, False, True, True]])
    explanations = of_vectors.explain(inputs, labels, parts=parts)
    evidence = maps(explanations)
    assert_array_equal(evidence[:, [0, 2]], evidence[:, [1, 3]])
    for found, x, label in zip(explanations, inputs, labels, strict=True):
        replaced = np.where(parts[1], found.normal, x)
        drop = found.score - of_vectors.anomaly_score(replaced[None], [label])[0]
        assert drop == pytest.approx(found.evidence[2], rel=1e-4)
    assert_array_equal(of_vectors.explain(inputs[:1], parts=np.zeros((1, 4)))[0].evidence, np.zeros(4))


# --- laws ---

CASES = {
    "vectors": (kinds(), {}),
    "vectors without labels": ((kinds()[0], None), {}),
    "signals without labels": ((signals(), None), {}),
    "pictures": (pictures(), {}),
    "pasted pictures": ((pictures()[0], None), {"task": "pastes"}),
    "pictures, members": (pictures(), {"n_members": 2, "temperature": "fit"}),
    "pictures, no normal samples": (pictures(), {"score_function": "msp"}),
    "vectors, no normal samples, labels alone": (kinds(), {"score_function": "energy", "task": "labels"}),
    "signals, no normal samples": ((signals(), None), {"score_function": "target-nll"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "parameters"), CASES.values(), ids=CASES)
def test_an_explanation_is_the_same_in_any_batch_and_agrees_with_the_model(data, parameters, tmp_path):
    (inputs, labels), new = data, data[0][:5]
    detector = quick(**parameters).fit(inputs, labels)
    for claimed in (None, None if labels is None else labels[:5]):
        together = detector.explain(new, claimed)
        scores = [found.score for found in together]
        assert_allclose(scores, detector.anomaly_score(new, claimed), rtol=1e-9, atol=1e-12)
        usual = detector.model_.calibration.of(with_labels=claimed is not None).scores
        assert_array_equal([found.p_value for found in together], p_values(np.array(scores), tie_bound(usual)))
        for rows in (slice(2, 3), slice(4, 2, -1)):
            alone = detector.explain(new[rows], None if claimed is None else claimed[rows])
            for one, other in zip(alone, together[rows], strict=True):
                assert_same(one, other)
        for found, x in zip(together, new, strict=True):
            assert found.evidence.shape == found.normal.shape == x.shape
            assert np.isfinite(found.evidence).all()
            assert (found.neighbours is None) == (detector.model_.normal is None)
    detector.save(tmp_path / "saved")
    assert_same(explain(load(tmp_path / "saved"), new[:1])[0], detector.explain(new[:1])[0])


def assert_same(one, other):
    """Two explanations have the same bits."""
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert_array_equal(value, getattr(other, name))
        else:
            assert value == getattr(other, name), name


@pytest.mark.parametrize("n_members", [1, 2])
def test_probabilities_are_those_of_the_labels_under_known_views(n_members):
    inputs, labels = pictures()
    detector = quick(n_members=n_members, temperature=3.0).fit(inputs, labels)
    members = detector.model_.member_outputs(inputs[:5])
    p = softmax(np.stack([outputs.logits for outputs in members]) / 3.0, -1).mean(0)
    p = p.reshape(5, 4, 2, 4)  # sample, view, label, transform
    for number, found in enumerate(detector.explain(inputs[:5])):
        under = np.stack([p[number, view, :, view] for view in range(4)])
        expected = (under / under.sum(1, keepdims=True)).mean(0)
        assert_allclose([found.probabilities[label] for label in (0, 1)], expected, rtol=1e-5)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.looks_like == expected.argmax()
        true = [p[number, view].sum(0)[view] for view in range(4)]
        assert_allclose([view.probability for view in found.views], true, rtol=1e-5)


def test_a_single_view_cannot_be_improbable(of_vectors):
    for found in explain(of_vectors.model_, kinds(5, seed=1)[0] + 9):
        (view,) = found.views
        assert (view.p_value, view.fails) == (1.0, False)
        assert view.probability == pytest.approx(1)


def test_the_p_value_of_a_view_is_its_place_among_normal_ones():
    inputs, labels = pictures()
    detector = quick().fit(inputs, labels)
    known = detector.outputs(inputs[detector.model_.normal.rows]).logits
    log_p = log_softmax(known.astype(float), -1).reshape(len(known), 4, 2, 4)
    nll = np.stack([-np.logaddexp(*log_p[:, view, :, view].T) for view in range(4)], 1)
    assert_allclose(detector.model_.normal.view_nll, nll, rtol=1e-4, atol=1e-6)
    (found,) = detector.explain(inputs[:1])
    for number, view in enumerate(found.views):
        expected = (1 + (nll[:, number] >= -np.log(view.probability) - 1e-9).sum()) / (1 + len(nll))
        assert view.p_value == pytest.approx(expected, abs=1.5 / len(nll))
        assert view.fails == (view.p_value <= detector.false_alarm_rate)


def test_without_normal_samples_a_view_fails_if_it_is_taken_for_another():
    inputs, labels = pictures()
    detector = quick(score_function="msp", epochs=8).fit(inputs, labels)
    turned = np.ascontiguousarray(inputs[:6, ..., ::-1, ::-1])
    for found in detector.explain(np.concatenate([inputs[:6], turned])):
        assert all(view.p_value is None for view in found.views)
        assert all(view.fails == (view.taken_for != view.name) for view in found.views)


@pytest.mark.parametrize("data", [kinds(), pictures()], ids=["vectors", "pictures"])
def test_neighbours_are_the_rows_passed_to_fit_nearest_first(data):
    inputs, labels = data
    detector = quick().fit(inputs, labels)
    rows = detector.model_.normal.rows[[0, 3, 50]]
    for row, found in zip(rows, detector.explain(inputs[rows]), strict=True):
        assert (found.neighbours[0].row, found.neighbours[0].label) == (row, labels[row])
        assert found.neighbours[0].distance == pytest.approx(0, abs=1e-6)
        assert len(found.neighbours) == N_NEIGHBOURS
        assert [near.distance for near in found.neighbours] == sorted(near.distance for near in found.neighbours)
        assert_allclose(found.normal, inputs[row], rtol=1e-5, atol=1e-5)
        assert_allclose(found.evidence, 0, atol=1e-3)  # replaced by itself


def test_the_distance_of_pictures_is_that_of_the_cosines_of_their_views(of_pictures):
    new = pictures(3, seed=9)[0]
    features, kept = of_pictures.outputs(new).features, of_pictures.model_.normal.features
    cosine = np.einsum("nvd,rvd->nrv", features, kept)
    lengths = [np.linalg.norm(vectors, axis=2) for vectors in (features, kept)]
    distance = 1 - (cosine / (lengths[0][:, None] * lengths[1][None])).mean(2)
    for own, found in zip(np.sort(distance, 1), of_pictures.explain(new), strict=True):
        assert_allclose([near.distance for near in found.neighbours], own[:N_NEIGHBOURS], rtol=1e-3, atol=1e-6)


def test_the_distance_of_vectors_is_that_of_inputs_and_features_of_one_variance(of_vectors):
    new = kinds(3, seed=9)[0]
    model, outputs = of_vectors.model_, of_vectors.outputs(new)
    inputs, features, kept = outputs.inputs, outputs.features[:, 0], model.normal

    def spread(vectors):
        return np.sqrt(vectors.var(0).sum(-1)).mean()

    parts = [(inputs, kept.inputs), (features, kept.features[:, 0])]
    if outputs.n_views > 1:
        flat = [
            vectors.reshape(len(vectors), -1) / np.sqrt(outputs.n_views)
            for vectors in (outputs.features, kept.features)
        ]
        parts[1] = tuple(flat)
    scales = [spread(kept.inputs), spread(kept.features)]
    squared = sum(
        np.square((own[:, None] - other[None]) / scale).sum(2)
        for (own, other), scale in zip(parts, scales, strict=True)
    )
    for own, found in zip(np.sort(np.sqrt(squared), 1), of_vectors.explain(new), strict=True):
        assert_allclose([near.distance for near in found.neighbours], own[:N_NEIGHBOURS], rtol=1e-3)


@given(array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=20))
def test_parts_cover_every_point(shape):
    parts = parts_of(shape)
    assert parts.shape[1:] == shape
    assert (parts.reshape(len(parts), -1).max(1) > 0).all()
    assert (parts.sum(0) > 0).all()
    assert ((parts >= 0) & (parts <= 1)).all()


@given(st.integers(1, 5000))
def test_long_vectors_have_few_parts(size):
    parts = parts_of((size,))
    assert len(parts) <= MAX_PARTS
    assert_array_equal(parts.sum(0), np.ones(size))
    assert len(parts) == size or size > MAX_PARTS


# --- several folds ---


def test_the_explanation_of_several_folds_is_the_mean_of_theirs(of_folds):
    model, (new, claimed) = of_folds.model_, kinds(6, seed=4)
    new[:3, 3] = 15
    for known in (None, claimed):
        together = explain(model, new, known)
        each = [explain(fold, new, known) for fold in model.folds]
        assert_array_equal([found.score for found in together], model.anomaly_score(new, known))
        assert_array_equal([found.p_value for found in together], model.p_value(new, known))
        assert_allclose(maps(together), np.mean([maps(of_fold) for of_fold in each], 0), rtol=1e-12, atol=1e-12)
        for number, found in enumerate(together):
            of_folds_ = [of_fold[number] for of_fold in each]
            for label in model.task.labels.tolist():
                probabilities = [one.probabilities[label] for one in of_folds_]
                assert found.probabilities[label] == pytest.approx(np.mean(probabilities))
            for view, views in zip(found.views, zip(*(one.views for one in of_folds_), strict=True), strict=True):
                assert view.probability == pytest.approx(np.mean([one.probability for one in views]))
                assert view.p_value == pytest.approx(np.mean([one.p_value for one in views]))
                assert view.fails == (np.mean([one.fails for one in views]) > 0.5)
                assert view.taken_for in {one.taken_for for one in views}
            nearest = min((one.neighbours[0] for one in of_folds_), key=lambda near: near.distance)
            assert found.neighbours[0] == nearest
            assert len({near.row for near in found.neighbours}) == len(found.neighbours) == N_NEIGHBOURS
            assert found.claimed == (None if known is None else known[number])
        assert {int(found.evidence.argmax()) for found in together[:3]} == {3}


def test_the_explanation_of_one_fold_alone_is_that_of_its_model(of_vectors):
    new = kinds(2, seed=4)[0]
    for found, expected in zip(explain(of_vectors.model_, new), of_vectors.explain(new), strict=True):
        assert_same(found, expected)


# --- refusals ---


@pytest.mark.parametrize(
    ("inputs", "labels", "parts", "message"),
    [
        (np.full((1, 4), np.nan), None, None, "NaN"),
        (np.zeros((1, 5)), None, None, r"5 features|shape \(5,\)"),
        (np.zeros((1, 2, 2)), None, None, "learnt|features"),
        (np.zeros((2, 4)), [0, 7], None, "label 7 of sample 1 was not learnt; known are"),
        (np.zeros((2, 4)), [0], None, "1 labels for 2 samples"),
        (np.zeros((1, 4)), None, np.ones((2, 3), bool), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.ones(4), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.ones((0, 4)), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.full((1, 4), "a"), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.full((1, 4), 2.0), "outside 0"),
        (np.zeros((1, 4)), None, np.full((1, 4), np.nan), "outside 0"),
    ],
)
def test_bad_input_is_refused(of_vectors, inputs, labels, parts, message):
    with pytest.raises(ValueError, match=message):
        of_vectors.explain(inputs, labels, parts=parts)
    with pytest.raises(InputError, match=message):
        explain(of_vectors.model_, inputs, labels, parts=parts)


def test_a_detector_is_fitted_first():
    with pytest.raises(NotFittedError):
        quick().explain(np.zeros((1, 4)))


def test_a_score_that_needs_labels_asks_for_them():
    detector = quick(task="labels", score_function="target-nll").fit(*kinds())
    with pytest.raises(InputError, match="pass the labels of the samples too"):
        detector.explain(np.zeros((1, 4)))
    assert detector.explain(np.zeros((1, 4)), [1])[0].claimed == 1


def test_with_a_promise_within_each_label_the_p_value_is_that_of_the_claimed_label(of_vectors):
    model, (new, claimed) = replace(of_vectors.model_, per_label=True), kinds(6, seed=4)
    found = [one.p_value for one in explain(model, new, claimed)]
    assert_array_equal(found, model.p_value(new, claimed))
