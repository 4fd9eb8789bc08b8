"""Why a sample is odd: known answers, laws, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick, signals
from scipy.special import log_softmax, softmax
from scipy.stats import wilcoxon
from sklearn.exceptions import NotFittedError

from oddkind import Detector, InputError, load
from oddkind.model.calibration import combined_among_others, p_values
from oddkind.model.explain import NEIGHBOURS, Deletion, deletion_test, diagnose, parts_of
from oddkind.model.scores import compared
from oddkind.train.transforms import TASKS, make_task

MARK = 5


def marked(n=14, seed=7):
    """Pictures of `problems.pictures`, each with an inverted square [5, 5], and where the square is."""
    inputs, _ = pictures(n, seed)
    draw, where = np.random.default_rng(seed), np.zeros((n, 14, 14), bool)
    for of, (y, x) in zip(where, draw.integers(14 - MARK, size=(n, 2)), strict=True):
        of[y : y + MARK, x : x + MARK] = True
    inputs[:, 0][where] = np.where(inputs[:, 0][where] > 127, 0, 255)
    return inputs, where


@pytest.fixture(scope="module")
def of_pictures():
    return quick(epochs=15, false_alarm_rate=0.1).fit(*pictures())


@pytest.fixture(scope="module")
def of_vectors():
    return quick(epochs=30).fit(*kinds())


def maps(diagnoses):
    return np.stack([diagnosis.evidence for diagnosis in diagnoses])


# --- Known answers ----------------------------------------------------------------------------------------


def test_evidence_lies_on_a_planted_mark_and_the_deletion_test_says_so(of_pictures):
    inputs, where = marked()
    diagnoses = of_pictures.diagnose(inputs)
    evidence = maps(diagnoses)
    assert np.mean([where[n].ravel()[evidence[n].argmax()] for n in range(len(where))]) > 0.6  # by chance 0.13
    top = np.argsort(-evidence.reshape(len(where), -1), axis=1)[:, : MARK**2]
    assert np.take_along_axis(where.reshape(len(where), -1), top, 1).mean() > 3 * MARK**2 / 14**2
    assert np.mean([diagnosis.p_value for diagnosis in diagnoses]) < 0.1

    test = deletion_test(of_pictures, inputs, evidence, part=MARK**2 / 14**2)
    assert test.gain > 0.5 * np.mean([diagnosis.score for diagnosis in diagnoses])
    assert test.interval[0] > 0
    assert test.won > 0.9
    assert test.p_value < 1e-3
    by_chance = np.random.default_rng(0).normal(size=inputs.shape)
    assert deletion_test(of_pictures, inputs, by_chance).gain < test.gain / 3
    backwards = deletion_test(of_pictures, inputs, -evidence)
    assert backwards.won < 0.5
    assert backwards.p_value > 0.5


def test_the_feature_that_is_off_has_the_evidence(of_vectors):
    inputs, labels = kinds(10, seed=5)
    inputs[:, 3] = 15
    for diagnosis, label in zip(of_vectors.diagnose(inputs, labels), labels, strict=True):
        assert diagnosis.evidence.argmax() == 3
        assert diagnosis.claimed == label
        assert {of.label for of in diagnosis.neighbours} == {label}


def test_a_wrong_claim_shows_as_another_label():
    inputs, labels = kinds(600)
    detector = Detector(task="labels", random_state=0, epochs=20).fit(inputs, labels)
    new, truth = kinds(40, seed=3)
    claimed = (truth + 1) % 3
    found = detector.diagnose(new, claimed)
    assert [of.claimed for of in found] == claimed.tolist()
    assert np.mean([of.looks_like == label for of, label in zip(found, truth, strict=True)]) > 0.95
    assert np.mean([of.p_value for of in found]) < 0.05 < np.mean([of.p_value for of in detector.diagnose(new, truth)])


def test_the_channel_and_the_time_of_an_oddity_are_found():
    detector = quick(epochs=10).fit(signals())
    odd = signals(10, seed=3)
    odd[:, 1, 32:40] += 3
    evidence = maps(detector.diagnose(odd))
    assert_array_equal(evidence.sum(2).argmax(1), np.ones(10))
    assert np.isin(evidence[:, 1].argmax(1), np.arange(24, 48)).all()


def test_views_that_are_taken_for_others_fail(of_pictures):
    inputs, _ = pictures(12, seed=3)
    upright, turned = of_pictures.diagnose(inputs), of_pictures.diagnose(np.ascontiguousarray(inputs[..., ::-1, ::-1]))
    assert np.mean([len(of.failing) / 4 for of in upright]) < 0.3  # 0.1 promised, of new normal samples
    assert all(len(of.failing) == 4 for of in turned)
    assert turned[0].views[0].name == "as it is"
    assert "as it is" not in {of.views[0].taken_for for of in turned}


def test_parts_of_ones_own_are_replaced_together(of_vectors):
    inputs, labels = kinds(5, seed=4)
    inputs[:, 2:] += 10
    parts = np.array([[True, True, False, False], [False, False, True, True]])
    found = of_vectors.diagnose(inputs, labels, parts=parts)
    evidence = maps(found)
    assert_array_equal(evidence[:, [0, 2]], evidence[:, [1, 3]])
    for of, x, label in zip(found, inputs, labels, strict=True):
        replaced = np.where(parts[1], of.normal, x)
        drop = of.score - of_vectors.anomaly_score(replaced[None], [label])[0]
        assert drop == pytest.approx(of.evidence[2], rel=1e-4)
    assert_array_equal(of_vectors.diagnose(inputs[:1], parts=np.zeros((1, 4)))[0].evidence, np.zeros(4))


# --- Laws -------------------------------------------------------------------------------------------------

CASES = {
    "vectors": (kinds(), {}),
    "vectors without labels": ((kinds()[0], None), {}),
    "signals without labels": ((signals(), None), {}),
    "pictures": (pictures(), {}),
    "pasted pictures": ((pictures()[0], None), {"task": "pastes"}),
    "pictures, members": (pictures(), {"members": 2, "temperature": "fit"}),
    "pictures, no reference": (pictures(), {"score": "msp"}),
    "vectors, no reference, labels alone": (kinds(), {"score": "energy", "task": "labels"}),
    "signals, no reference": ((signals(), None), {"score": "target-nll"}),
}


@pytest.mark.parametrize(("data", "parameters"), CASES.values(), ids=CASES)
def test_a_diagnosis_is_the_same_in_any_batch_and_agrees_with_the_detector(data, parameters, tmp_path):
    (inputs, labels), new = data, data[0][:5]
    detector = quick(**parameters).fit(inputs, labels)
    for claimed in (None, None if labels is None else labels[:5]):
        together = detector.diagnose(new, claimed)
        assert_allclose([of.score for of in together], detector.anomaly_score(new, claimed), rtol=1e-9, atol=1e-12)
        own = detector._normal[claimed is not None]
        normal = combined_among_others(own, detector._weights)
        assert_array_equal([of.p_value for of in together], p_values([of.score for of in together], normal))
        for rows in (slice(2, 3), slice(4, 2, -1)):
            alone = detector.diagnose(new[rows], None if claimed is None else claimed[rows])
            for one, other in zip(alone, together[rows], strict=True):
                same(one, other)
        for of, x in zip(together, new, strict=True):
            assert of.evidence.shape == of.normal.shape == x.shape
            assert np.isfinite(of.evidence).all()
    detector.save(tmp_path / "saved")
    same(load(tmp_path / "saved").diagnose(new[:1])[0], detector.diagnose(new[:1])[0])


def same(one, other):
    """To the bit."""
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert_array_equal(value, getattr(other, name))
        else:
            assert value == getattr(other, name), name


@pytest.mark.parametrize("members", [1, 2])
def test_probabilities_are_those_of_the_labels_under_known_views(members):
    inputs, labels = pictures()
    detector = quick(members=members, temperature=3.0).fit(inputs, labels)
    p = softmax(np.stack([of.logits for of in detector.member_outputs(inputs[:5])]) / 3.0, -1).mean(0)
    p = p.reshape(5, 4, 2, 4)  # sample, view, label, transform
    for number, of in enumerate(detector.diagnose(inputs[:5])):
        under = np.stack([p[number, view, :, view] for view in range(4)])
        expected = (under / under.sum(1, keepdims=True)).mean(0)
        assert_allclose([of.probabilities[label] for label in (0, 1)], expected, rtol=1e-5)
        assert sum(of.probabilities.values()) == pytest.approx(1)
        assert of.looks_like == expected.argmax()
        true = [p[number, view].sum(0)[view] for view in range(4)]
        assert_allclose([view.probability for view in of.views], true, rtol=1e-5)


def test_a_views_p_value_is_its_place_among_normal_ones():
    inputs, labels = pictures()
    detector = quick().fit(inputs, labels)
    known = detector._reference[0].logits
    log_p = log_softmax(known.astype(float), -1).reshape(len(known), 4, 2, 4)
    nll = np.stack([-np.logaddexp(*log_p[:, view, :, view].T) for view in range(4)], 1)
    (of,) = detector.diagnose(inputs[:1])
    for number, view in enumerate(of.views):
        expected = (1 + (nll[:, number] >= -np.log(view.probability) - 1e-9).sum()) / (1 + len(nll))
        assert view.p_value == pytest.approx(expected, abs=1.5 / len(nll))
        assert view.fails == (view.p_value <= detector.false_alarm_rate)


@pytest.mark.parametrize("data", [kinds(), pictures()], ids=["vectors", "pictures"])
def test_neighbours_are_the_rows_passed_to_fit_nearest_first(data):
    inputs, labels = data
    detector = quick().fit(inputs, labels)
    rows = compared(detector.training_rows_)[[0, 3, 50]]
    for row, of in zip(rows, detector.diagnose(inputs[rows]), strict=True):
        assert (of.neighbours[0].row, of.neighbours[0].label) == (row, labels[row])
        assert of.neighbours[0].distance == pytest.approx(0, abs=1e-6)
        assert len(of.neighbours) == NEIGHBOURS
        assert [n.distance for n in of.neighbours] == sorted(n.distance for n in of.neighbours)
        assert_allclose(of.normal, inputs[row], rtol=1e-5, atol=1e-5)
        assert_allclose(of.evidence, 0, atol=1e-3)  # replaced by itself


def test_cosines_of_the_views_are_the_distance_of_pictures(of_pictures):
    new = pictures(3, seed=9)[0]
    features, kept = of_pictures.outputs(new).features, of_pictures._reference[0].features
    cosine = np.einsum("nvd,rvd->nrv", features, kept)
    lengths = [np.linalg.norm(of, axis=2) for of in (features, kept)]
    distance = 1 - (cosine / (lengths[0][:, None] * lengths[1][None])).mean(2)
    for own, of in zip(np.sort(distance, 1), of_pictures.diagnose(new), strict=True):
        assert_allclose([near.distance for near in of.neighbours], own[:NEIGHBOURS], rtol=1e-3, atol=1e-6)


@given(array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=20))
def test_parts_cover_every_point(shape):
    parts = parts_of(shape)
    assert parts.shape[1:] == shape
    assert (parts.reshape(len(parts), -1).max(1) > 0).all()
    assert (parts.sum(0) > 0).all()
    assert ((parts >= 0) & (parts <= 1)).all()


def test_long_vectors_have_few_parts():
    parts = parts_of((1000,))
    assert len(parts) <= 128
    assert_array_equal(parts.sum(0), np.ones(1000))


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30))
def test_a_deletion_test_sums_up_its_drops(pairs):
    drops, elsewhere = np.array(pairs, float).T
    test = Deletion(drops, elsewhere)
    assert test.gain == pytest.approx(np.mean(drops - elsewhere))
    assert test.interval[0] <= test.gain <= test.interval[1]
    assert test.won == pytest.approx(np.mean(drops > elsewhere) + np.mean(drops == elsewhere) / 2)
    if (drops != elsewhere).any():
        assert test.p_value == wilcoxon(drops, elsewhere, alternative="greater", method="asymptotic").pvalue
    else:
        assert test.p_value == 1


def test_a_deletion_test_replaces_what_it_is_told_and_repeats(of_vectors):
    inputs, labels = kinds(6, seed=5)
    evidence = np.tile([0.0, 3.0, 2.0, 1.0], (6, 1))
    test = deletion_test(of_vectors, inputs, evidence, labels, part=0.5)
    for number, of in enumerate(of_vectors.diagnose(inputs, labels)):
        replaced = np.where([False, True, True, False], of.normal, inputs[number])
        drop = of.score - of_vectors.anomaly_score(replaced[None], labels[number : number + 1])[0]
        assert test.drops[number] == pytest.approx(drop, rel=1e-4, abs=1e-6)
    again = deletion_test(of_vectors, inputs[:3], evidence[:3], labels[:3], part=0.5)
    assert_array_equal(again.drops, test.drops[:3])
    assert_array_equal(again.elsewhere, test.elsewhere[:3])


@pytest.mark.parametrize("name", [name for name in TASKS if name != "auto" and not name.startswith("labels+")])
def test_every_view_has_a_name_of_its_own(name):
    shape = {"rotations": (1, 8, 8), "pastes": (1, 8, 8), "affine": (3,), "labels": (3,)}.get(name, (4, 16))
    transform = make_task(name, shape, np.array([0, 1]), np.random.RandomState(0)).transform
    assert len({*transform.names}) == transform.count


# --- Refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "labels", "parts", "message"),
    [
        (np.full((1, 4), np.nan), None, None, "NaN"),
        (np.zeros((1, 5)), None, None, "5 features"),
        (np.zeros((1, 2, 2)), None, None, "learnt|features"),
        (np.zeros((2, 4)), [0, 7], None, "label 7 of sample 1 was not learnt; known are"),
        (np.zeros((2, 4)), [0], None, "1 labels for 2 samples"),
        (np.zeros((1, 4)), None, np.ones((2, 3), bool), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.ones(4), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.ones((0, 4)), "must be numbers of shape"),
        (np.zeros((1, 4)), None, np.full((1, 4), 2.0), "outside 0"),
        (np.zeros((1, 4)), None, np.full((1, 4), np.nan), "outside 0"),
    ],
)
def test_bad_input_is_refused(of_vectors, inputs, labels, parts, message):
    with pytest.raises(ValueError, match=message):
        of_vectors.diagnose(inputs, labels, parts=parts)


def test_a_detector_is_fitted_first():
    with pytest.raises(NotFittedError):
        quick().diagnose(np.zeros((1, 4)))
    with pytest.raises(NotFittedError):
        diagnose(quick(), np.zeros((1, 4)))


def test_a_score_that_needs_labels_asks_for_them():
    detector = quick(task="labels", score="target-nll").fit(*kinds())
    with pytest.raises(InputError, match="pass the labels of the samples too"):
        detector.diagnose(np.zeros((1, 4)))
    assert detector.diagnose(np.zeros((1, 4)), [1])[0].claimed == 1


@pytest.mark.parametrize(
    ("evidence", "part", "message"),
    [
        (np.zeros((1, 4)), 0.5, r"of shape \(2, 4\)"),
        (np.full((2, 4), np.inf), 0.5, "finite"),
        (np.zeros((2, 4)), 0.0, "part=0 of 4 points"),
        (np.zeros((2, 4)), 1.0, "part=1 of 4 points"),
        (np.zeros((2, 4)), 0.99, "part=0.99 of 4 points"),
    ],
)
def test_a_deletion_test_refuses_what_it_cannot_compare(of_vectors, evidence, part, message):
    with pytest.raises(InputError, match=message):
        deletion_test(of_vectors, np.zeros((2, 4)), evidence, part=part)
