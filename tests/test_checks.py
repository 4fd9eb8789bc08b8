"""Issues found before and after training, and that clean data has none."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import kinds, pictures, quick, signals
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import NearestCentroid

from oddkind import ConcernWarning, Detector, Samples, check_data, fit_fleet, fit_together
from oddkind.checks import TOO_EASY, association, best_single_feature, check_learnt
from oddkind.metrics import auc


def found(*given):
    return [issue.kind for issue in check_data(*given)]


def message(*given):
    (issue,) = check_data(*given)
    return issue.message


# --- Clean data has no issues -----------------------------------------------------------------------------

CLEAN = {
    "digits": lambda: Samples(*load_digits(return_X_y=True)),
    "wine": lambda: Samples(*load_wine(return_X_y=True)),
    "iris": lambda: Samples(*load_iris(return_X_y=True)),  # one copy in 150
    "breast cancer": lambda: Samples(*load_breast_cancer(return_X_y=True)),
    "kinds": lambda: Samples(*kinds()),
    "pictures": lambda: Samples(pictures()[0]),
    "signals": lambda: Samples(signals()),
    "one sample": lambda: Samples(signals(1)),
    "none": lambda: Samples(signals(3), anomalous=np.ones(3, bool)),
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_data_has_no_issue(name):
    assert check_data(CLEAN[name]()) == []


def test_mnist_is_clean_in_one_split_and_over_both(mnist):
    train, test = mnist
    both = Samples(
        np.concatenate([train.inputs, test.inputs]), anomalous=np.concatenate([train.anomalous, test.anomalous])
    )
    assert found(train) == found(test) == []
    assert found(both, np.repeat(["train", "test"], [len(train), len(test)])) == []


# --- Labels -----------------------------------------------------------------------------------------------


def test_one_label_and_labels_of_few_samples():
    inputs, labels = kinds()
    assert "all labels are 7" in message(Samples(inputs, np.full(300, 7)))
    labels[:4] = 9
    assert "1 of 4 labels have fewer than 5 samples (9)" in message(Samples(inputs, labels))
    assert found(Samples(inputs[:296], np.append(labels[4:], 9)[:296])) == []


@pytest.mark.parametrize(
    ("usual", "rare", "n_rare"),
    [
        (0, 1, 40),
        (1, 0, 40),
        (1, -1, 75),  # a quarter
        (0.0, 1.0, 1),
        (False, True, 40),
        ("no", "yes", 40),
        ("0", "1", 40),
        ("normal", "anomaly", 150),  # these names mean the truth however many there are
        ("good", "defect", 40),
        ("OK", "NG", 200),
        ("healthy", "faulty", 40),
    ],
)
def test_labels_that_look_like_the_truth_are_named(usual, rare, n_rare):
    labels = np.where(np.arange(300) < n_rare, rare, usual)
    text = message(Samples(kinds()[0], labels)) if n_rare >= 5 else check_data(Samples(kinds()[0], labels))[0].message
    usual, rare = labels[-1].item(), labels[0].item()
    assert f"the labels {usual!r} and {rare!r} ({n_rare} of 300) look like the truth" in text
    assert "Pass only the normal samples" in text
    assert found(Samples(kinds()[0], labels))[0] == "truth"


@pytest.mark.parametrize(
    ("usual", "rare", "n_rare"),
    [
        (0, 1, 150),
        (0, 1, 76),
        (-1, 1, 140),
        (True, False, 100),
        (1, 2, 40),
        (0, 7, 40),
        ("machine 0", "machine 1", 40),
        ("normal speed", "low speed", 40),
        ("good", "better", 40),
        ("broken", "worn", 40),
        ("normal", "good", 40),
    ],
)
def test_two_kinds_of_normal_do_not_look_like_the_truth(usual, rare, n_rare):
    assert found(Samples(kinds()[0], np.where(np.arange(300) < n_rare, rare, usual))) == []


def test_three_labels_are_not_the_truth():
    labels = np.array(["normal", "anomaly", "unknown"])[np.arange(300) % 3]
    assert found(Samples(kinds()[0], labels)) == []


@pytest.mark.parametrize("task", ["auto", "affine"])
def test_fit_warns_of_the_truth_even_if_the_task_ignores_labels(task):
    inputs = kinds()[0]
    with pytest.warns(ConcernWarning, match="look like the truth, normal or anomalous") as said:
        quick(task=task, epochs=1).fit(inputs, np.arange(300) < 20)
    assert sum("truth" in str(one.message) for one in said) == 1


def test_labels_of_anomalies_are_not_looked_at():
    inputs, labels = kinds()
    labels[:2] = 9
    assert found(Samples(inputs, labels, np.arange(300) < 2)) == []


def test_a_label_that_is_a_session_is_confounded_with_it():
    inputs, labels = kinds()
    sessions = np.array(["mon", "tue", "wed"])[labels]
    text = message(Samples(inputs, labels, groups=sessions))
    assert "3 of 3 labels have one group each that has no other label (0, 1, 2)" in text
    assert "100% of the group" in text
    partly = np.where(labels == 0, "mon", np.char.add("s", (np.arange(300) % 9).astype(str)))
    assert "1 of 3 labels have one group each that has no other label (0)" in message(
        Samples(inputs, labels, groups=partly)
    )


@pytest.mark.parametrize(
    "groups",
    [
        lambda label, row: 10 * label + row % 2,
        lambda label, row: row % 5,
        lambda label, row: 0 * label,
        lambda _, row: row,
    ],
    ids=["nested", "crossed", "one session", "a group a sample"],
)
def test_labels_seen_in_several_groups_or_all_in_one_are_not(groups):
    inputs, labels = kinds()
    assert found(Samples(inputs, labels, groups=groups(labels, np.arange(300)))) == []


@given(st.integers(0, 99), st.integers(1, 5), st.integers(2, 5))
def test_association_is_the_mutual_information_over_the_entropy_of_the_group(seed, n_labels, n_groups):
    draw = np.random.default_rng(seed)
    labels, groups = draw.integers(n_labels, size=80), draw.integers(n_groups, size=80)
    expected = mutual_info_score(labels, groups) / mutual_info_score(groups, groups)
    assert association(labels, groups) == pytest.approx(max(0, expected), abs=1e-9)
    assert association(groups, groups) == pytest.approx(1)
    assert association(np.char.add("l", groups.astype(str)), groups) == pytest.approx(1)
    crossed = np.repeat(np.arange(n_labels), n_groups), np.tile(np.arange(n_groups), n_labels)
    assert association(*crossed) == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 99), st.integers(2, 4), st.sampled_from(["a number", "the mean", "the spread"]))
def test_one_number_that_tells_all_labels_makes_the_task_too_easy(seed, n_labels, how):
    draw = np.random.default_rng(seed)
    labels = np.arange(120) % n_labels
    inputs = draw.normal(size=(120, 40))
    assert found(Samples(inputs, labels)) == []
    if how == "a number":
        inputs[:, 7] += 12 * labels
    elif how == "the mean":
        inputs += 3 * labels[:, None]
    else:
        inputs *= 10.0 ** labels[:, None]
    (issue,) = check_data(Samples(inputs, labels))
    assert issue.kind == "too easy"
    assert {
        "a number": "number 8 of 40",
        "the mean": "the mean of each",
        "the spread": "the standard deviation of each",
    }[how] in issue.message
    assert f"all {n_labels} labels" in issue.message


def test_labels_that_take_two_numbers_to_tell_are_not_too_easy():
    inputs, labels = kinds(apart=9.0)
    assert found(Samples(inputs, labels)) == []  # each has an axis of its own: no single one tells three
    wide = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[np.arange(400) % 4] * 20
    assert found(Samples(wide + np.random.default_rng(0).normal(size=(400, 2)), np.arange(400) % 4)) == []


def test_what_is_nearly_always_right_is_not_too_easy(mnist):
    train, _ = mnist
    easiest = train[np.isin(train.labels, [0, 1])]
    assert found(easiest) == []  # 98.5 % by a pixel in the middle
    assert TOO_EASY > 0.99


@given(st.integers(0, 99), st.integers(2, 4))
def test_the_best_single_feature_is_the_one_that_the_nearest_class_mean_classifies_best(seed, n_labels):
    draw = np.random.default_rng(seed)
    labels = np.arange(60) % n_labels
    inputs = draw.normal(size=(60, 7))
    inputs[:, 3] += labels
    x = np.hstack([inputs, inputs.mean(1, keepdims=True), inputs.std(1, keepdims=True)])
    accuracies = [
        NearestCentroid().fit(x[:, [number]], labels).score(x[:, [number]], labels) for number in range(x.shape[1])
    ]
    accuracy, best = best_single_feature(inputs, labels)
    assert accuracy == pytest.approx(max(accuracies))
    assert accuracies[best] == pytest.approx(max(accuracies))


# --- Inputs -----------------------------------------------------------------------------------------------


def test_copies_without_groups_and_over_groups_and_splits():
    inputs, labels = kinds()
    inputs[30:40], labels[30:40] = inputs[:10], labels[:10]
    copied = Samples(inputs, labels, files=np.char.add("f", np.arange(300).astype(str)))
    text = message(copied)
    assert "10 of 300 samples are exact copies of others, such as f0 and f30" in text
    together = np.arange(300) // 2
    together[30:40] = together[:10]
    assert found(Samples(inputs, labels, groups=together)) == []
    assert "20 of 300 samples are exact copies of a sample in another group" in message(
        Samples(inputs, labels, groups=np.arange(300) // 2)
    )
    split = np.where(np.arange(300) < 30, "test", "train")
    assert "20 of 300 samples are exact copies of a sample in another split" in message(copied, split)


def test_an_example_of_copies_does_not_name_one_file_twice():
    inputs, _ = kinds()
    inputs[1], inputs[60:80] = inputs[0], inputs[0]
    files = np.array([f"{row // 30}.wav" for row in range(300)])
    assert "such as 0.wav and 2.wav" in message(Samples(inputs, groups=files, files=files))
    assert "are exact copies of others, such as two of 0.wav" in message(Samples(inputs, files=files))


def test_a_few_copies_are_ignored():
    inputs, labels = kinds()
    inputs[298:] = inputs[:2]
    assert "copies" not in found(Samples(inputs, labels))


def test_copies_with_another_label_or_condition():
    inputs, labels = kinds()
    inputs[30:40], labels[30:40] = inputs[:10], (labels[:10] + 1) % 3
    assert found(Samples(inputs, labels)) == ["conflict", "copies"]
    assert (
        "20 of 300 samples are exact copies of a sample with another label, such as 0 and 30"
        in check_data(Samples(inputs, labels))[0].message
    )
    odd = (np.arange(300) >= 30) & (np.arange(300) < 40)
    assert "another condition" in check_data(Samples(inputs, None, odd))[0].message


def test_channels_that_never_vary_and_blank_samples():
    waves = signals()
    waves[:, 1] = 3.5
    assert "1 of 2 channels never vary (2, counted from 1)" in message(Samples(waves))
    inputs = pictures()[0]
    inputs[:4] = np.arange(4)[:, None, None, None]
    assert "4 of 200 samples are blank" in message(Samples(inputs))
    vectors = np.repeat(kinds()[0], 2, 1)
    vectors[:, :4] = 1
    assert found(Samples(vectors)) == []
    vectors[:, 4] = 1
    assert "5 of 8 numbers of each sample never vary" in message(Samples(vectors))


@pytest.mark.parametrize("end", [1, -1])
def test_a_channel_that_is_cut_off_is_clipped(end):
    waves = signals()
    assert found(Samples(waves)) == []
    waves[:, 1] = np.minimum(end * waves[:, 1], 0.4) * end
    assert f"1 of 2 channels are clipped at an end of their range: 2 (at {end * 0.4})" in message(Samples(waves))


def test_a_sensor_that_rests_at_0_or_has_few_values_is_not_clipped():
    waves = signals()
    waves[:, 0] = np.maximum(waves[:, 0], 0)
    waves[:, 1] = np.round(waves[:, 1] * 4)
    assert found(Samples(waves)) == []


# --- After training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "n", "said"),
    [
        (0.5, 200, True),
        (0.3, 200, True),  # worse than guessing
        (0.7, 200, False),  # better
        (0.5, 12, False),  # too few to say
        (1.0, 200, False),
    ],
)
def test_a_task_is_not_learnt_where_guessing_does_as_well_and_there_are_enough_to_tell(accuracy, n, said):
    assert bool(check_learnt(accuracy, n, np.arange(n) % 2, 1)) == said


def test_guessing_is_calling_everything_the_most_frequent_class():
    targets = np.arange(200) % 10 == 0
    assert check_learnt(0.9, 200, targets, 1)[0].message.startswith(
        "the labels were not learnt: 0.90 of 200 held-out samples are classified correctly, guessing gives 0.90"
    )
    assert not check_learnt(0.97, 200, targets, 1)


@given(st.integers(10, 400), st.integers(2, 8), st.integers(0, 10))
def test_a_perfect_network_has_no_issue_however_few_samples(n, classes, seed):
    targets = np.random.default_rng(seed).integers(classes, size=n)
    if len(set(targets)) > 1:
        assert check_learnt(1.0, n, targets, 1) == []


def test_turns_of_noise_are_not_learnt_and_fit_says_so_where_the_score_depends_on_it():
    noise = np.random.default_rng(0).integers(256, size=(300, 1, 12, 12)).astype(np.uint8)
    noisy = {"task": "rotations", "network": "lecture", "calibration_fraction": 0.3, "epochs": 5}
    with pytest.warns(UserWarning, match=r"the 4 views of a sample were not learnt: 0\.\d+ of 90 held-out samples"):
        quick(score_function="msp", **noisy).fit(noise)
    quick(score_function="cosine-neighbours", **noisy).fit(noise)  # warnings are errors here
    quick(score_function="combined", **noisy).fit(noise)  # gives the softmax no weight


def test_fit_warns_of_labels_that_are_too_easy_where_the_score_depends_on_it():
    inputs, labels = kinds(apart=0.0)
    inputs[:, 0] += 20 * labels
    with pytest.warns(UserWarning, match="number 1 of 4 of each sample alone determines all 3 labels"):
        quick(task="labels", score_function="max-logit", epochs=20).fit(inputs, labels)
    quick(task="labels", score_function="mahalanobis").fit(inputs, labels)
    quick(task="labels+affine", score_function="cosine-neighbours").fit(inputs, labels)
    quick(task="affine", score_function="mahalanobis").fit(inputs)


def test_too_easy_labels_leave_the_softmax_worthless_and_neighbours_not():
    draw = np.random.default_rng(0)

    def drawn(n, spread):
        labels = draw.integers(3, size=n)
        inputs = draw.normal(size=(n, 20))
        inputs[:, 10:] *= spread  # what is anomalous
        inputs[:, 0] += 10 * labels  # what the label is told by
        return inputs, labels

    inputs, labels = drawn(1200, 1.0)
    new, odd = np.concatenate([drawn(300, 1.0)[0], drawn(300, 3.0)[0]]), np.repeat([False, True], 300)
    scores = "msp", "joint-neighbours"
    detectors = [Detector(task="labels", score_function=score, random_state=0) for score in scores]
    with pytest.warns(UserWarning, match="number 1 of 20"):
        fit_together(detectors, inputs, labels)
    found = {score: auc(odd, detector.anomaly_score(new)) for score, detector in zip(scores, detectors, strict=True)}
    assert found["msp"] < 0.75
    assert found["joint-neighbours"] > 0.95


def test_fit_warns_once_however_many_detectors_and_of_a_fleet_names_the_machine():
    inputs, labels = kinds()
    copied = inputs.copy()
    copied[30:40] = copied[:10]
    with pytest.warns(UserWarning, match="10 of 300 samples are exact copies") as said:
        fit_together([quick(), quick(random_state=1)], copied)
    assert len(said) == 1
    with pytest.warns(UserWarning, match="^pump 2: 10 of 300 samples are exact copies") as said:
        fit_fleet({"pump 1": Samples(inputs, labels), "pump 2": Samples(copied)}, quick())
    assert len(said) == 1


def test_what_rests_at_zero_is_not_clipped_and_fit_checks_it_before_it_is_standardised():
    draw = np.random.default_rng(0)
    resting = np.maximum(draw.normal(size=(200, 2, 64)), 0)  # half of it exactly 0
    assert [issue.kind for issue in check_data(Samples(resting))] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector(epochs=1, random_state=0, false_alarm_rate=0.2).fit(resting)
