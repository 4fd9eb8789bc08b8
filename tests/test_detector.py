"""What the detector finds, what it promises, and what does and does not change it."""

import warnings
from itertools import pairwise

import numpy as np
import pyarrow
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick, signals, weights
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from scoring import OF_SIGNALS
from sklearn.neighbors import NearestNeighbors

import oddkind.train.stacks
from oddkind import (
    SCORES,
    ConcernWarning,
    CrossConformal,
    Detector,
    InputError,
    PromiseWarning,
    Score,
    fit_together,
    load,
    neighbours,
)
from oddkind.metrics import auc
from oddkind.model.conformal import alarms, p_values
from oddkind.model.formulas import msp, target_nll
from oddkind.model.scores import components_of
from oddkind.study.evaluation import LECTURE
from oddkind.train import loop
from oddkind.train.networks import build
from oddkind.train.temperature import fit_temperature, perplexity

ANY_NETWORK = [name for name, score in SCORES.items() if not any(c.network for c in components_of(score))]
OF_PICTURES = [name for name in ANY_NETWORK if name not in OF_SIGNALS]
NO_ROTATIONS = [name for name, score in SCORES.items() if not any(c.needs_rotations for c in components_of(score))]


class Still(torch.nn.Module):
    """One layer, which is fast to train."""

    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.classifier = torch.nn.Linear(*input_shape, n_classes)

    def forward(self, x):
        return self.classifier(x), x


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*kinds())


# --- Anomalies are found ----------------------------------------------------------------------------------


def test_an_outlier_among_three_kinds_is_found():
    inputs, labels = kinds(600)
    detector = Detector(random_state=0).fit(inputs, labels)
    normal, odd = kinds(300, seed=1)[0], np.random.default_rng(2).normal([0, 0, 0, 12], size=(300, 4))
    anomalous = np.repeat([False, True], 300)
    assert auc(anomalous, detector.anomaly_score(np.vstack([normal, odd]))) > 0.99
    assert (detector.predict(odd) == -1).mean() > 0.95
    assert (detector.predict(normal) == 1).mean() > 0.85
    assert detector.classes_.tolist() == [0, 1, 2]
    assert detector.model_.report.accuracy > 0.8
    assert detector.model_.report.epochs == 100
    assert detector.model_.report.losses.shape == (100, 1)
    assert detector.model_.report.losses[-1] < detector.model_.report.losses[0]
    assert detector.model_.report.train_seconds > 0


@pytest.mark.parametrize(
    ("normal", "new", "odd"),
    [
        (kinds(400)[0], kinds(100, seed=1)[0], np.random.default_rng(2).normal(size=(100, 4)) - 8),
        (signals(), signals(100, seed=1), signals(100, seed=1)[..., ::-1]),
        (pictures()[0], pictures(100, seed=1)[0], pictures(100, seed=1)[0][:, :, ::-1, ::-1].copy()),
    ],
    ids=["vectors", "signals", "pictures"],
)
def test_without_labels_the_task_makes_its_own(normal, new, odd):
    detector = Detector(random_state=0, epochs=20).fit(normal)
    assert not hasattr(detector, "classes_")
    anomalous = np.repeat([False, True], [len(new), len(odd)])
    assert auc(anomalous, detector.anomaly_score(np.concatenate([new, odd]))) > 0.9


def test_a_window_that_was_cut_a_little_later_is_normal_and_a_change_of_moments_is_found():
    draw, time = np.random.default_rng(0), np.arange(96)

    def windows(n, *, cut_anywhere):
        phase = cut_anywhere * draw.uniform(0, 2 * np.pi, size=(n, 2, 4, 1))
        waves = np.sin(np.array([[0.2], [0.5], [0.9], [1.3]]) * time + phase).sum(2)
        return waves + 0.1 * draw.normal(size=(n, 2, 96))

    anomalous = np.repeat([False, True], 100)
    for cut_anywhere in (True, False):
        normal, new, odd = (windows(n, cut_anywhere=cut_anywhere) for n in (150, 100, 100))
        if cut_anywhere:
            odd[:, 1] += 0.3 * np.sin(2 * time)  # a tone that is too weak to see in the values
        else:
            odd[:, 0, 40:46] += 0.4  # a moment that statistics hardly notice
        detector = Detector(random_state=0, epochs=5).fit(normal)
        assert auc(anomalous, detector.anomaly_score(np.concatenate([new, odd]))) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("score", OF_PICTURES)
def test_every_score_finds_digits_it_was_not_shown(mnist, score):
    train, test = mnist
    train, test = train[::12], test[::12]
    lecture = {**LECTURE, "learning_rate": 1e-2}
    detector = Detector(
        task="labels+rotations", score_function=score, epochs=4, label_smoothing=0, random_state=0, **lecture
    )
    detector.fit(train.inputs, train.labels)
    assert auc(test.anomalous, detector.anomaly_score(test.inputs)) > 0.6


@pytest.mark.slow
def test_without_any_option_digits_it_was_not_shown_are_found(mnist):
    train, test = mnist
    train, test = train[::24], test[::8]
    for labels in (train.labels, None):
        detector = Detector(epochs=4, random_state=0).fit(train.inputs, labels)
        assert detector.model_.members[0].transform_name == "rotations"
        assert auc(test.anomalous, detector.anomaly_score(test.inputs)) > 0.93
        assert (detector.predict(test.inputs[~test.anomalous]) == -1).mean() < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # too few epochs to learn anything
@pytest.mark.parametrize("score", ANY_NETWORK)
@pytest.mark.parametrize(
    ("data", "n_members"),
    [(kinds(), 1), (kinds(), 3), ((signals(), None), 1), (pictures(110), 2)],
    ids=["vectors", "vectors, three networks", "signals without labels", "pictures, two networks"],
)
def test_a_samples_score_never_depends_on_its_batch(data, n_members, score):
    inputs, labels = data
    if (score not in NO_ROTATIONS and inputs.ndim < 4) or (score in OF_SIGNALS and inputs.ndim != 3):
        return
    detector = quick(score_function=score, n_members=n_members).fit(inputs, labels)
    modes = [component.label_modes(detector.model_.task) for component in detector.model_.score.components]
    for known in (None, labels):
        if not all((known is not None) in mode for mode in modes):
            continue
        whole = detector.anomaly_score(inputs, known)
        for rows in (slice(1), slice(3, 5), slice(40, 100), slice(0, 17), slice(None, None, -1)):
            assert_array_equal(
                detector.anomaly_score(inputs[rows], None if known is None else known[rows]), whole[rows]
            )


def test_many_samples_are_scored_some_at_a_time(monkeypatch):
    inputs, labels = kinds()
    detector = quick(n_members=2).fit(inputs, labels)
    expected = detector.anomaly_score(inputs, labels), detector.anomaly_score(inputs)
    sizes = []
    run = type(detector.model_).run
    monkeypatch.setattr(
        type(detector.model_), "run", lambda model, x, targets: sizes.append(len(x)) or run(model, x, targets)
    )
    monkeypatch.setattr("oddkind.arrays.BATCH_SIZE", 64)
    assert_array_equal(detector.anomaly_score(inputs, labels), expected[0])
    assert_array_equal(detector.anomaly_score(inputs), expected[1])
    assert max(sizes) == 64


@pytest.mark.parametrize(("task", "batch_size", "steps"), [("defects", 8, 1800), ("rotations", 64, 900)])
def test_networks_that_are_told_which_places_were_changed_learn_in_more_and_smaller_steps(
    monkeypatch, task, batch_size, steps
):
    def stop(jobs, **given):
        shown.append((len(jobs[0].rows), given["epochs"], given["batch_size"]))
        raise KeyboardInterrupt

    shown = []
    monkeypatch.setattr("oddkind.train.stacks.train", stop)
    noise = np.random.default_rng(0).integers(256, size=(2000, 1, 16, 16)).astype(np.uint8)
    with pytest.raises(KeyboardInterrupt):
        Detector(task=task).fit(noise)
    ((n, epochs, found),) = shown
    assert found == batch_size
    assert 0 <= epochs * -(-n // batch_size) - steps < -(-n // batch_size)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "epochs"), [("pastes", 40), ("auto", 20)])
def test_surfaces_show_a_small_mark_that_neighbours_on_pixels_miss(task, epochs):
    draw = np.random.default_rng(0)
    # A brushed surface: each picture's stripes lie elsewhere and are lit otherwise.
    stripes = draw.normal(size=(300, 1, 1, 24)) * 20 + draw.uniform(80, 170, (300, 1, 1, 1))
    inputs = stripes + draw.normal(size=(300, 1, 24, 24)) * 5
    odd = np.arange(300) >= 250
    for one in inputs[250:]:
        y, x = draw.integers(20, size=2)
        one[0, y : y + 4, x : x + 4] += draw.choice([-40, 40])
    inputs = inputs.clip(0, 255).astype(np.uint8)
    detector = Detector(task=task, epochs=epochs, random_state=0).fit(inputs[:200])
    found, pixels = auc(odd[200:], detector.anomaly_score(inputs[200:])), inputs.reshape(300, -1).astype(float)
    assert found > 0.95
    assert (
        found
        > auc(odd[200:], NearestNeighbors(n_neighbors=1).fit(pixels[:200]).kneighbors(pixels[200:])[0][:, 0]) + 0.1
    )
    for rows in (slice(200, 201), slice(203, 250)):
        assert_array_equal(detector.anomaly_score(inputs[rows]), detector.anomaly_score(inputs)[rows])


def symmetric():
    """Pictures that are the same upside down, and their labels."""
    inputs, labels = pictures()
    return (inputs // 2 + np.rot90(inputs, 2, (-2, -1)) // 2).astype(np.uint8), labels


def test_a_transform_that_leaves_samples_as_they_are_gives_a_warning():
    inputs, labels = symmetric()
    with pytest.warns(UserWarning, match=r"rotations do not change 100% of the samples.*choose another task"):
        quick(epochs=1, task="labels+rotations").fit(inputs, labels)
    blank = "60 of 60 samples are blank"
    with (
        pytest.warns(UserWarning, match="reversals do not change 100% of the samples"),
        pytest.warns(UserWarning, match=blank),
    ):
        quick(epochs=1).fit(np.repeat(np.arange(60.0), 40).reshape(60, 1, 40))


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # too few epochs to learn anything
@pytest.mark.parametrize(
    ("samples", "epochs"), [(200, 100), (6400, 10), (60_000, 3)], ids=["at most 100", "900 steps", "at least 3"]
)
def test_epochs_are_as_many_as_make_900_steps(samples, epochs):
    detector = Detector(network=Still, random_state=0, task="affine", score_function="msp")
    assert detector.fit(np.random.default_rng(0).normal(size=(samples, 1))).model_.report.epochs == epochs


@pytest.mark.parametrize(
    ("inputs", "shift"),
    [(pictures(60)[0], 1), (np.tile(pictures(60)[0], (1, 1, 3, 2)), 2), (signals(60), 4), (kinds(60)[0], 0)],
    ids=["pictures", "oblong pictures", "signals", "vectors"],
)
def test_training_moves_samples_by_a_fourteenth_of_the_shortest_axis(monkeypatch, inputs, shift):
    jobs = []
    monkeypatch.setattr(
        oddkind.train.stacks, "train", lambda given, **_: jobs.extend(given) or np.zeros((1, len(given)))
    )
    quick().fit(inputs, np.arange(60) % 2)
    assert [job.shift for job in jobs] == [shift]


def test_outputs_are_those_of_the_network():
    inputs, labels = pictures()
    detector = quick(task="labels+rotations").fit(inputs, labels)
    outputs = detector.outputs(inputs[:7])
    assert outputs.logits.shape == (7, 4, 8)
    assert outputs.features.shape[:2] == (7, 4)
    assert outputs.targets is None
    assert_array_equal(outputs.inputs, inputs[:7].reshape(7, -1))
    assert_array_equal(detector.outputs(inputs[:7], labels[:7]).targets, labels[:7, None] * 4 + np.arange(4))
    assert_array_equal(quick(task="rotations").fit(inputs).outputs(inputs[:2]).targets, [[0, 1, 2, 3]] * 2)


def test_floats_are_standardised_by_what_was_learnt_from():
    inputs, labels = kinds()
    inputs = inputs * [1, 100, 1e-3, 1] + [0, 5, 0, -1e3]
    detector = quick(task="labels").fit(inputs, labels)
    learnt = inputs[detector.model_.report.training_rows]
    assert_allclose(detector.model_.inputs.mean, learnt.mean(0), rtol=1e-4, atol=1e-6)
    assert_allclose(detector.model_.inputs.scale, learnt.std(0), rtol=1e-4)
    z = torch.tensor((inputs - learnt.mean(0)) / learnt.std(0), dtype=torch.float32)
    assert_allclose(
        detector.outputs(inputs).logits[:, 0], detector.model_.members[0].network(z)[0].detach(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 12345.678, -7e-5])
def test_a_feature_that_never_varies_is_not_scaled(value):
    inputs, labels = kinds(311)
    inputs[:, 3] = value
    detector = quick().fit(inputs, labels)
    assert detector.model_.inputs.scale[3] == 1
    assert_allclose(detector.model_.inputs.mean[3], value, rtol=1e-6)


def test_scaling_or_shifting_float_inputs_changes_nothing():
    inputs, labels = kinds()
    plain, moved = (quick().fit(x, labels).anomaly_score(x) for x in (inputs, 64 * inputs + 128))
    assert_allclose(plain, moved, atol=1e-3)


def test_bytes_stay_0_to_1_and_whole_numbers_are_read_as_floats():
    inputs, labels = pictures()
    assert quick().fit(inputs, labels).model_.inputs.mean is None
    whole, floats = (quick().fit(x, labels).anomaly_score(x) for x in (inputs.astype(int), inputs.astype(float)))
    assert_array_equal(whole, floats)


# --- Laws -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # too few epochs to learn anything
@pytest.mark.parametrize("score", ["msp", "cosine-neighbours"])
def test_a_higher_false_alarm_rate_never_raises_fewer_alarms(score):
    inputs, labels = kinds(apart=1.0)
    new = kinds(500, seed=1, apart=1.0)[0]
    alarms = [
        (
            quick(score_function=score, calibration_fraction=0.2, false_alarm_rate=rate)
            .fit(inputs, labels)
            .predict(new)
            == -1
        )
        for rate in (0.05, 0.2, 0.4, 0.8)
    ]
    for fewer, more in pairwise(alarms):
        assert (more >= fewer).all()
    assert alarms[0].sum() < alarms[-1].sum()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # too few epochs to learn anything
@pytest.mark.parametrize(
    ("score", "known"),
    [
        ("msp", False),
        ("msp", True),
        ("target-nll", True),
        ("cosine-neighbours", False),
        ("cosine-neighbours", True),
        ("mahalanobis", False),
        ("mahalanobis", True),
    ],
)
def test_false_alarms_stay_within_the_promise(score, known):
    rate, alarms = 0.2, []
    for seed in range(20):
        inputs, labels = kinds(80, seed, apart=1.0)
        detector = Detector(
            epochs=1, random_state=seed, score_function=score, calibration_fraction=0.5, false_alarm_rate=rate
        ).fit(inputs, labels)
        new, claimed = kinds(400, 1000 + seed, apart=1.0)
        alarms.append((detector.predict(new, claimed if known else None) == -1).mean())
    # n = 40 held out: the mean is between rate − 1/41 and rate.
    error = 3 * np.sqrt(rate * (1 - rate) / 42 / 20)
    assert rate - 1 / 41 - error <= np.mean(alarms) <= rate + error


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # trained for two epochs
@pytest.mark.parametrize("parameters", [{}, {"score_function": "msp"}, {"per_label": True}, {"task": "labels+affine"}])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("groups", [None, np.arange(300) // 3])
def test_an_alarm_is_a_p_value_of_at_most_the_rate_whatever_rate_is_set_after_fitting(parameters, known, groups):
    inputs, labels = kinds(apart=2.0)
    labels = labels if groups is None else np.repeat(labels[:100], 3)
    detector = quick(**parameters).fit(inputs, labels, groups)
    new, claimed = kinds(500, seed=1, apart=2.0)
    claimed = claimed if known else None
    p = detector.p_value(new, claimed)
    scores = detector.anomaly_score(new, claimed)
    if not (known and detector.per_label):
        assert (np.diff(p[np.argsort(scores)]) <= 0).all()
    for rate in (0.2, 0.35, 0.5, 0.9):
        detector.set_params(false_alarm_rate=rate)
        assert_array_equal(detector.predict(new, claimed) == -1, alarms(p, rate))
    for rows in (slice(1), slice(7, 40)):
        assert_array_equal(detector.p_value(new[rows], None if claimed is None else claimed[rows]), p[rows])


def test_within_each_label_a_sample_is_compared_with_that_label_alone():
    inputs, labels = kinds(600, apart=2.0)
    inputs[labels == 2] *= 3  # a label that scores higher
    detector = quick(task="labels", score_function="euclidean-neighbours", per_label=True, epochs=5).fit(inputs, labels)
    new, claimed = kinds(300, seed=1, apart=2.0)
    new[claimed == 2] *= 3
    scores, held_out = detector.anomaly_score(new, claimed), detector.model_.calibration.labelled.scores
    kind = labels[detector.model_.report.calibration_rows]
    expected = [
        (1 + (held_out[kind == own] >= s).sum()) / (1 + (kind == own).sum())
        for own, s in zip(claimed, scores, strict=True)
    ]
    assert_allclose(detector.p_value(new, claimed), expected)
    assert detector.model.threshold(with_labels=True).shape == (3,)
    assert isinstance(detector.set_params(per_label=False).model.threshold(with_labels=True), float)


def test_windows_of_a_recording_count_as_one_and_a_recording_is_compared_with_recordings():
    draw, groups = np.random.default_rng(0), np.repeat(np.arange(60), 10)
    inputs = draw.normal(size=(600, 4)) + np.repeat(draw.normal(size=(60, 4)), 10, axis=0)
    detector = quick(task="affine", epochs=3).fit(inputs, groups=groups)
    rows, held_out = detector.model_.report.calibration_rows, detector.model_.calibration.unlabelled.scores
    names = np.unique(groups[rows])
    assert len(rows) == 10 * len(names)
    parts = held_out.reshape(len(names), 10)
    new = inputs[:30] + 1
    scores = detector.anomaly_score(new)
    expected = (1 + (parts[None] >= scores[:, None, None]).mean(2).sum(1)) / (1 + len(names))
    assert_allclose(detector.p_value(new), expected)
    found, p = detector.group_p_value(new, ["b"] * 10 + ["a"] * 20, how="max")
    assert found.tolist() == ["a", "b"]
    whole = np.array([scores[10:].max(), scores[:10].max()])
    assert_allclose(p, (1 + (parts.max(1)[None] >= whole[:, None]).sum(1)) / (1 + len(names)))


def test_within_each_label_a_group_is_compared_with_groups_of_that_label():
    draw, groups, labels = np.random.default_rng(0), np.repeat(np.arange(60), 3), np.repeat(np.arange(60) % 2, 3)
    inputs = draw.normal(size=(180, 4)) * (1 + 4 * labels[:, None])  # label 1 scores higher
    detector = quick(task="labels", score_function="euclidean-neighbours", per_label=True).fit(inputs, labels, groups)
    new, of = inputs[:12], groups[:12]
    _, p = detector.group_p_value(new, of, labels[:12])
    held_out = detector.model_.calibration.labelled
    normal = held_out.scores.reshape(-1, 3).mean(1)
    scores = detector.anomaly_score(new, labels[:12]).reshape(-1, 3).mean(1)
    for label in range(2):
        expected = p_values(scores[label::2], normal[held_out.label_index[::3] == label])
        assert_allclose(p[label::2], expected)
    with pytest.raises(InputError, match="a group has samples of two labels"):
        detector.group_p_value(new, np.zeros(12), labels[:12])


def test_labels_that_the_task_does_not_use_change_nothing():
    inputs = kinds(60)[0]
    rare = np.where(np.arange(60) < 40, 0, np.arange(60))
    plain, labelled = (quick(task="affine", epochs=1).fit(inputs, y) for y in (None, rare))
    assert_array_equal(plain.model_.report.calibration_rows, labelled.model_.report.calibration_rows)


def test_enough_are_held_out_for_a_sharp_threshold_if_a_fifth_is_enough():
    inputs, labels = kinds(200)
    for rate, expected in ((0.2, 19), (0.1, 29), (0.05, 39), (0.03, 33), (0.02, 49), (0.01, 99)):
        report = quick(false_alarm_rate=rate, epochs=1).fit(inputs, labels).model_.report
        assert len(report.calibration_rows) == expected
    each = quick(false_alarm_rate=0.05, epochs=1, per_label=True).fit(inputs, labels)
    assert np.bincount(labels[each.model_.report.calibration_rows]).min() >= 19


@pytest.mark.parametrize("parameters", [{}, {"temperature": "fit", "task": "labels"}, {"score_function": "msp"}])
def test_the_same_seed_gives_the_same_bits(parameters):
    inputs, labels = kinds()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - a state that must play no part
    first = quick(**parameters).fit(inputs, labels)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    again, other = (quick(**{**parameters, "random_state": s}).fit(inputs, labels) for s in (0, 1))
    assert_array_equal(first.anomaly_score(inputs), again.anomaly_score(inputs))
    assert_array_equal(first.model_.report.losses, again.model_.report.losses)
    assert first.offset_ == again.offset_
    assert not np.array_equal(first.anomaly_score(inputs), other.anomaly_score(inputs))


def test_the_initial_weights_are_drawn_from_the_seed():
    still = (
        quick(random_state=seed, learning_rate=1e-30).fit(*kinds(60)).model_.members[0].network for seed in range(2)
    )
    one, other = (network.classifier.weight.detach() for network in still)
    assert not np.allclose(one, other)


def test_fitting_leaves_the_global_random_states_alone():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    quick().fit(*kinds(60))
    assert torch.equal(torch.get_rng_state(), expected[0])
    assert_array_equal(np.random.get_state()[1], expected[1])  # noqa: NPY002


def test_a_users_network_is_not_trained_in_place():
    network = build("mlp", (4,), 3, seed=0)
    before = weights(network).copy()
    detector = quick(task="labels", network=network).fit(*kinds())
    assert np.array_equal(weights(network), before)
    assert not np.array_equal(weights(detector.model_.members[0].network), before)


def test_labels_may_be_strings_in_any_order():
    inputs, labels = kinds()
    named = quick(score_function="target-nll", task="labels+affine").fit(inputs, np.array(["c", "a", "b"])[labels])
    numbered = quick(score_function="target-nll", task="labels+affine").fit(inputs, np.array([2, 0, 1])[labels])
    assert named.classes_.tolist() == ["a", "b", "c"]
    assert_array_equal(named.anomaly_score(inputs), numbered.anomaly_score(inputs))
    assert_array_equal(
        named.anomaly_score(inputs, np.array(["c", "a", "b"])[labels]),
        numbered.anomaly_score(inputs, np.array([2, 0, 1])[labels]),
    )


@pytest.mark.parametrize("score", ["target-nll", "cosine-neighbours", "mahalanobis"])
def test_a_wrong_claim_is_an_anomaly(score):
    inputs, labels = kinds(600)
    detector = quick(score_function=score, epochs=5).fit(inputs, labels)
    new, true = kinds(100, seed=1)
    scores = np.concatenate([detector.anomaly_score(new, claim) for claim in (true, (true + 1) % 3)])
    assert auc(np.repeat([False, True], 100), scores) > 0.95


def test_target_nll_of_a_known_label_is_its_negative_log_likelihood():
    inputs, labels = kinds()
    detector = quick(task="labels", score_function="target-nll", temperature=2.0).fit(inputs, labels)
    expected = -log_softmax(detector.outputs(inputs).logits[:, 0].astype(float) / 2, axis=1)[np.arange(300), labels]
    assert_allclose(detector.anomaly_score(inputs, labels), expected, rtol=1e-5)
    with pytest.raises(InputError, match="pass the labels"):
        detector.anomaly_score(inputs)


def test_a_score_may_be_your_own():
    inputs, labels = kinds()
    detector = quick(task="labels", score_function=neighbours(k=3, metric="euclidean")).fit(inputs, labels)
    features = detector.outputs(inputs).features[:, 0]
    expected = np.sort(cdist(features, features[detector.model_.report.training_rows]), axis=1)[:, 2]
    assert_allclose(detector.anomaly_score(inputs), expected, atol=1e-4)
    learnt, computed = [], []

    def learn(normal, temperature):
        learnt.append((len(normal), temperature))
        return {"mean": normal.features.mean((0, 1))}

    def compute(outputs, arrays, temperature):
        computed.append((len(outputs), arrays["mean"].shape, temperature))
        return np.linalg.norm(outputs.features[:, 0] - arrays["mean"], axis=1)

    score = Score("distance to the mean", compute, learn)
    own = quick(network="mlp", score_function=score, temperature=3.0).fit(inputs, labels)
    held_out = len(own.model_.report.calibration_rows)
    assert learnt == [(300 - held_out, 3.0)]
    assert set(computed) == {(held_out, (64,), 3.0)}
    own.anomaly_score(inputs[:7])
    assert computed[-1] == (7, (64,), 3.0)
    assert len(learnt) == 1


@pytest.mark.parametrize("task", ["labels", "labels+affine"])
def test_temperature_fit_makes_the_held_out_part_most_likely(task):
    inputs, labels = kinds(apart=1.5)
    detector = quick(task=task, temperature="fit", score_function="msp", epochs=10, learning_rate=1e-2).fit(
        inputs, labels
    )
    rows = detector.model_.report.calibration_rows
    outputs = detector.outputs(inputs[rows], labels[rows])

    def nll(temperature):
        return target_nll(outputs.logits, outputs.targets, temperature).mean()

    assert 0.1 < detector.model_.temperature < 10
    assert nll(detector.model_.temperature) <= min(nll(t) for t in np.geomspace(0.1, 10, 200)) + 1e-6
    assert_allclose(
        detector.anomaly_score(inputs), msp(detector.outputs(inputs).logits, detector.model_.temperature).mean(1)
    )


def test_accuracy_and_perplexity_are_those_of_the_held_out_part():
    inputs, labels = kinds(apart=1.5)
    detector = quick(task="labels", calibration_fraction=0.3, learning_rate=1e-2).fit(inputs, labels)
    rows = detector.model_.report.calibration_rows
    assert len(rows) == 90
    assert_array_equal(np.sort(np.concatenate([rows, detector.model_.report.training_rows])), np.arange(300))
    logits = detector.outputs(inputs[rows]).logits[:, 0]
    assert detector.model_.report.accuracy == (logits.argmax(1) == labels[rows]).mean()
    targets = np.searchsorted(detector.classes_, labels[rows])
    assert detector.model_.report.perplexity == perplexity(logits, targets, fit_temperature(logits, targets))
    assert 0.3 < detector.model_.report.accuracy < 1


def test_groups_are_held_out_whole():
    inputs, labels = kinds()
    groups = np.random.default_rng(0).permutation(300) // 5
    for given in (groups, groups.tolist(), groups.astype(str)):
        detector = quick().fit(inputs, labels, groups=given)
        learnt, held_out = groups[detector.model_.report.training_rows], groups[detector.model_.report.calibration_rows]
        assert not set(learnt) & set(held_out)
        assert len(set(held_out)) == 9


def test_progress_is_shown_when_asked(capsys, monkeypatch):
    quick().fit(*kinds(60))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    quick(verbose=True).fit(*kinds(60))
    assert "training" in "".join(capsys.readouterr())


# --- What changes a fitted detector, and what does not ----------------------------------------------------


def asked(detector, folder, inputs, labels):
    """All that a fitted detector answers, and the bytes of its file."""
    file = folder / "asked.oddkind"
    detector.save(file)
    answers = {
        "score": detector.anomaly_score(inputs),
        "score of labels": detector.anomaly_score(inputs, labels),
        "decision": detector.predict(inputs),
        "p-value": detector.p_value(inputs, labels),
        "logits": detector.outputs(inputs).logits,
        "offset": detector.offset_,
    }
    return {name: np.asarray(value).tobytes() for name, value in answers.items()} | {"file": file.read_bytes()}


OTHER = {
    "task": "labels",
    "network": Still,
    "score_function": "msp",
    "n_members": 5,
    "epochs": 7,
    "batch_size": 3,
    "learning_rate": 0.5,
    "weight_decay": 0.3,
    "schedule": "constant",
    "max_shift": 2,
    "label_smoothing": 0.4,
    "mixup": 0.7,
    "warp": 0.2,
    "temperature": 9.0,
    "calibration_fraction": 0.4,
    "device": "meta",
    "random_state": 8,
    "verbose": True,
}


@pytest.mark.parametrize("name", OTHER)
def test_parameters_set_after_fit_change_nothing(tmp_path, fitted, name):
    inputs, labels = kinds(40, seed=1)
    before, old = asked(fitted, tmp_path, inputs, labels), fitted.get_params()
    try:
        assert asked(fitted.set_params(**{name: OTHER[name]}), tmp_path, inputs, labels) == before
    finally:
        fitted.set_params(**old)


def test_other_are_all_parameters_but_the_false_alarm_rate_and_per_label():
    assert set(Detector().get_params()) - set(OTHER) == {"false_alarm_rate", "per_label"}


def test_the_false_alarm_rate_and_per_label_take_effect_after_fit(tmp_path):
    inputs, labels = kinds(apart=2.0)
    new, claimed = kinds(200, seed=1, apart=2.0)
    detector = quick(calibration_fraction=0.5).fit(inputs, labels)
    scores, alarms_before = detector.anomaly_score(new), (detector.predict(new) == -1).sum()
    detector.set_params(false_alarm_rate=0.5)
    assert (detector.predict(new) == -1).sum() > alarms_before
    assert_array_equal(detector.anomaly_score(new), scores)
    together = detector.p_value(new, claimed)
    detector.set_params(per_label=True)
    assert not np.array_equal(detector.p_value(new, claimed), together)
    assert_array_equal(detector.anomaly_score(new), scores)
    detector.save(tmp_path / "a.oddkind")
    model = load(tmp_path / "a.oddkind")
    assert (model.false_alarm_rate, model.per_label) == (0.5, True)
    assert_array_equal(model.predict(new, claimed), detector.predict(new, claimed))


def interrupt(*_, **__):
    raise KeyboardInterrupt


REFUSED = {
    "one sample": ({}, (np.ones((1, 4)), None)),
    "pictures that are too small": ({}, (pictures(60)[0][..., :7, :7], None)),
    "NaN": ({}, (np.full((60, 6), np.nan), None)),
    "labels of one kind": ({"task": "labels"}, (np.ones((60, 6)), np.zeros(60, int))),
    "too few of each label": ({"task": "labels"}, (np.ones((5, 6)), np.arange(5))),
    "a bad parameter": ({"epochs": 0}, (kinds(60)[0][:, :3], None)),
    "a bad random state": ({"random_state": "today"}, (kinds(60)[0][:, :3], None)),
    "a promise within each label without labels": ({"per_label": True}, (kinds(60)[0][:, :3], None)),
    "interrupted": ({}, (pictures(60)[0], pictures(60)[1] + 7)),
    "interrupted in the loop": ({"random_state": np.random.RandomState(4)}, (kinds(60)[0][:, :3], None)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_second_fit_that_is_refused_or_interrupted_changes_nothing(tmp_path, monkeypatch, why):
    parameters, data = REFUSED[why]
    inputs, labels = kinds(40, seed=1)
    detector = quick().fit(*kinds())
    before, model, old = asked(detector, tmp_path, inputs, labels), detector.model_, detector.get_params()
    if why == "interrupted":
        monkeypatch.setattr(oddkind.train.stacks, "train", interrupt)
    elif why == "interrupted in the loop":
        monkeypatch.setattr(loop.Adam, "step", interrupt)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        detector.set_params(**parameters).fit(*data)
    detector.set_params(**old)
    assert detector.model_ is model
    assert (detector.n_features_in_, detector.classes_.tolist()) == (4, [0, 1, 2])
    assert not hasattr(detector, "feature_names_in_")
    assert set(vars(detector)) == {*old, "model_"}
    assert asked(detector, tmp_path, inputs, labels) == before


def test_a_second_fit_that_is_refused_keeps_the_names_of_columns():
    inputs = kinds(60)[0]
    table = pyarrow.table(dict(zip("abcd", inputs.T, strict=True)))
    detector = quick().fit(table)
    with pytest.raises(InputError, match="epochs=0"):
        detector.set_params(epochs=0).fit(pyarrow.table({"x": inputs[:, 0], "y": inputs[:, 1]}))
    assert detector.feature_names_in_.tolist() == list("abcd")
    assert_array_equal(detector.anomaly_score(table), quick().fit(inputs).anomaly_score(inputs))
    with pytest.raises(ValueError, match="feature names should match"):
        detector.predict(table.select(["b", "a", "c", "d"]))


def test_a_first_fit_that_is_refused_leaves_a_detector_that_is_not_fitted():
    detector = quick(epochs=0)
    with pytest.raises(InputError):
        detector.fit(*kinds(60))
    assert set(vars(detector)) == set(detector.get_params())
    for name in ("model_", "model", "offset_", "classes_", "n_features_in_", "feature_names_in_"):
        assert not hasattr(detector, name)


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # too few epochs to learn anything
@pytest.mark.parametrize("score", OF_PICTURES)
def test_scoring_estimates_nothing(monkeypatch, score):
    inputs, labels = pictures(60)
    detector = quick(score_function=score, n_members=2, epochs=1).fit(inputs, labels)
    expected = detector.anomaly_score(inputs[:5]), detector.p_value(inputs[:5], labels[:5])
    for name in ("numpy.linalg.eigh", "numpy.linalg.eig", "numpy.linalg.svd", "numpy.linalg.inv", "numpy.cov"):
        monkeypatch.setattr(name, interrupt)
    for name in ("class_means", "whitening", "principal_residual"):
        monkeypatch.setattr(f"oddkind.model.covariance_scores.{name}", interrupt)
        monkeypatch.setattr(f"oddkind.model.distances.{name}", interrupt)
    monkeypatch.setattr("oddkind.model.neighbour_scores.whitening", interrupt)
    monkeypatch.setattr("oddkind.model.distance_scores.whitening", interrupt)
    monkeypatch.setattr("oddkind.model.fitted_score.learn_score", interrupt)
    monkeypatch.setattr("oddkind.train.fit.fit_temperature", interrupt)
    assert_array_equal(detector.anomaly_score(inputs[:5]), expected[0])
    assert_array_equal(detector.p_value(inputs[:5], labels[:5]), expected[1])


# --- Few samples ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # labels of few samples
@pytest.mark.parametrize("n", [2, 3, 7, 20])
@pytest.mark.parametrize("labelled", [False, True], ids=["without labels", "with labels"])
@pytest.mark.parametrize("kind", [kinds, signals, pictures], ids=["vectors", "signals", "pictures"])
def test_two_samples_are_enough_for_scores_and_p_values(kind, labelled, n):
    inputs = kind(n) if kind is signals else kind(n)[0]
    labels = np.arange(n) % 2 if labelled and n > 2 else np.zeros(n) if labelled else None
    with pytest.warns(
        PromiseWarning, match=r"no alarm is raised: a false-alarm rate of 0\.05 takes at least 19"
    ) as said:
        detector = Detector(epochs=1, random_state=0).fit(inputs, labels)
    assert len([one for one in said if one.category is PromiseWarning]) == 1
    n_held_out = len(detector.model_.report.calibration_rows)
    assert 1 <= n_held_out <= max(1, n // 2)
    assert f"there are {n_held_out}" in str(said[-1].message)
    far = np.full_like(inputs, 255) if inputs.dtype == np.uint8 else 1e3 + inputs
    for x, y in ((inputs, labels), (inputs, None), (far, labels), (far, None)):
        scores, p = detector.anomaly_score(x, y), detector.p_value(x, y)
        assert np.isfinite(scores).all()
        assert ((p >= 1 / (n_held_out + 1)) & (p <= 1)).all()
        assert (detector.predict(x, y) == 1).all()  # and gives no second warning
        assert np.isfinite(detector.decision_function(x, y)).all()


def test_the_smallest_p_value_is_that_of_a_sample_odder_than_all_held_out_ones():
    inputs = kinds(30)[0]
    with pytest.warns(PromiseWarning):
        detector = Detector(epochs=1, random_state=0).fit(inputs)
    assert_allclose(detector.p_value([[1e3] * 4]), 1 / (1 + len(detector.model_.report.calibration_rows)))


def test_a_rate_set_after_fit_that_cannot_be_promised_raises_no_alarm_and_warns(fitted):
    odd = [[-99.0] * 4]
    assert fitted.predict(odd) == [-1]
    n = len(fitted.model_.report.calibration_rows)
    fitted.set_params(false_alarm_rate=1e-3)
    try:
        with pytest.warns(PromiseWarning, match=rf"0\.001 takes at least 999 held-out normal samples; there are {n}"):
            assert fitted.predict(odd) == [1]
        assert fitted.p_value(odd) == 1 / (n + 1)
    finally:
        fitted.set_params(false_alarm_rate=0.2)


def test_a_label_of_which_no_sample_was_held_out_raises_no_alarm():
    inputs, labels = kinds(60)[0], np.repeat([1, 2], [57, 3])
    detector = quick(task="labels", per_label=True)
    with pytest.warns(ConcernWarning, match="fewer than 5"), pytest.warns(PromiseWarning, match="label 2; there are 0"):
        fit_together([detector], inputs, labels, calibration_rows=[np.arange(10)])
    of_label_1, of_label_2 = np.full(60, 1), np.full(60, 2)
    assert_array_equal(detector.p_value(inputs + 99, of_label_2), 1)
    assert (detector.predict(inputs + 99, of_label_2) == 1).all()
    assert (detector.decision_function(inputs + 99, of_label_2) >= 0).all()
    assert (detector.predict(inputs + 99, of_label_1) == -1).all()


@pytest.mark.parametrize(
    ("ask", "category"),
    [
        (lambda: Detector(epochs=1).fit(kinds(20)[0]), PromiseWarning),
        (lambda: fit_together([Detector(epochs=1)], kinds(20)[0]), PromiseWarning),
        (lambda: quick(epochs=1).fit(np.tile(kinds(30)[0], (2, 1))), ConcernWarning),
        (lambda: quick(epochs=1, task="rotations").fit(symmetric()[0]), UserWarning),
        (lambda: CrossConformal(Detector(epochs=1), folds=2).fit(kinds(10)[0]), PromiseWarning),
        (
            lambda: quick(epochs=1).fit(kinds(60)[0]).set_params(false_alarm_rate=0.01).predict([[0.0] * 4]),
            PromiseWarning,
        ),
    ],
    ids=["rate", "rate, fitted together", "copies", "views", "rate of folds", "rate set after fit"],
)
def test_a_warning_names_the_line_of_the_call(ask, category):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ask()
    (one,) = (one for one in said if one.category is category)
    assert (one.filename, one.lineno) == (ask.__code__.co_filename, ask.__code__.co_firstlineno)


def test_a_model_says_what_it_classifies_and_what_it_is_scored_by():
    vectors, labels = kinds()
    said = quick().fit(vectors, labels).model_.describe()
    assert said["task"] == "labels"
    assert said["score"].startswith("fused-distances: the largest of input-distance, ")
    assert quick().fit(vectors).model_.describe()["task"] == "affine"
    said = quick(task="labels+rotations").fit(*pictures()).model_.describe()
    assert said["task"] == "labels+rotations"
    assert said["score"].startswith("combined-with-input: 1 × view-neighbours + ")
    noise = np.random.default_rng(0).integers(256, size=(60, 1, 16, 16)).astype(np.uint8)
    said = quick(score_function="msp").fit(noise).model_.describe()
    assert said == {
        "task": "defects, because the pictures vary equally at every place, as those of surfaces do",
        "score": "msp",
    }


def test_local_distances_do_not_count_among_few_recordings():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 120)
    inputs = draw.normal(size=(240, 40)) + 3 * labels[:, None]
    for groups, local in ((np.arange(240) // 12, False), (np.arange(240) // 6, True), (None, True)):
        fitted = Detector(random_state=0, epochs=5, false_alarm_rate=0.5).fit(inputs, labels, groups)
        assert ("local" in fitted.model_.score.describe()) == local
