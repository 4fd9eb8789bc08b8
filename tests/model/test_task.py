"""Classes are internal labels times known transforms, numbered label by label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from oddkind import InputError
from oddkind.model.task import Task
from oddkind.train.transforms import TASKS, make_task

LABELS = np.array(["a", "bb", "c"])


@given(st.integers(1, 5), st.integers(0, 4))
def test_there_is_a_class_for_each_label_under_each_transform(n_views, n_labels):
    labels = np.arange(n_labels) if n_labels else None
    task = Task(labels, tuple(map(str, range(n_views))), n_views)
    assert (task.n_views, task.n_classes) == (n_views, n_views * max(1, n_labels))
    targets = task.targets(labels, max(1, n_labels))
    assert_array_equal(targets.ravel(), np.arange(task.n_classes))


def test_a_class_is_the_label_times_the_views_plus_the_view():
    task = Task(LABELS, ("as it is", "turned"), 2)
    assert task.targets(np.array(["c", "a"]), 2).tolist() == [[4, 5], [0, 1]]
    assert Task(None, ("as it is", "turned"), 2).targets(None, 3).tolist() == 3 * [[0, 1]]


def test_only_views_that_are_scored_have_targets_outside_training():
    task = Task(LABELS, ("as it is", "pasted", "scarred"), 1)
    assert task.targets(np.array(["bb"]), 1).tolist() == [[3]]
    assert task.targets(np.array(["bb"]), 1, training=True).tolist() == [[3, 4, 5]]


def test_without_the_labels_the_classes_are_not_known():
    assert Task(LABELS, ("as it is",), 1).targets(None, 2) is None


def test_labels_that_a_task_does_not_have_do_not_matter():
    assert Task(None, ("as it is",), 1).targets(np.array(["x", "y"]), 2).tolist() == [[0], [0]]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, float, "<U3", object])
def test_the_index_of_a_label_is_its_position(kind):
    labels = np.array([3, 5, 11]).astype(kind) if kind is not object else np.array(["a", "b", "c"], object)
    task = Task(np.sort(labels), ("as it is",), 1)
    given_labels = task.labels[[2, 0, 1, 2]]
    assert task.label_index(given_labels).tolist() == [2, 0, 1, 2]
    assert task.label_index(given_labels.tolist()).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("unknown", ["", "b", "bbb", "z"])
def test_a_label_that_was_not_learnt_is_refused(unknown):
    task = Task(LABELS, ("as it is",), 1)
    with pytest.raises(
        InputError, match=rf"label '{unknown}' of sample 1 was not learnt; known are \['a', 'bb', 'c'\]"
    ):
        task.targets(np.array(["a", unknown]), 2)


@pytest.mark.parametrize("unknown", [-1, 4, 9, np.nan])
def test_a_number_that_was_not_learnt_is_refused(unknown):
    with pytest.raises(InputError, match=f"label {float(unknown)!r} of sample 0 was not learnt"):
        Task(np.array([0, 3, 5]), ("as it is",), 1).label_index(np.array([unknown, 3.0]))


@pytest.mark.parametrize("learnt", [["a", "b"], np.array(["a", "b"], object), [1, 2]], ids=str)
@pytest.mark.parametrize("unknown", [None, 3, "c", 2.5])
def test_labels_of_another_type_are_refused(learnt, unknown):
    task = Task(np.array(learnt), ("as it is",), 1)
    for given_labels in ([unknown], np.array([task.labels[0], unknown], object)):
        with pytest.raises(InputError, match=rf"label .* of sample {len(given_labels) - 1} was not learnt"):
            task.label_index(np.array(given_labels))


def test_a_task_without_labels_has_no_index_of_labels():
    with pytest.raises(InputError, match="the task has no internal labels"):
        Task(None, ("as it is",), 1).label_index(np.array([0]))


@pytest.mark.parametrize("name", [name for name in TASKS if name != "auto" and not name.startswith("labels+")])
def test_every_view_has_a_name_of_its_own(name):
    of_pictures = dict.fromkeys(("rotations", "pastes", "defects"), (1, 8, 8))
    shape = (of_pictures | {"affine": (3,), "labels": (3,)}).get(name, (4, 16))
    task, transform, _ = make_task(name, shape, np.array([0, 1]), np.random.RandomState(0))
    assert len({*task.view_names}) == task.n_views == transform.count
