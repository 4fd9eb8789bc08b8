"""What a detector is fitted with: read once, checked, and written as JSON."""

import json

import numpy as np
import pytest

from oddkind import Detector, InputError, neighbours
from oddkind.train.parameters import Parameters, device_of


def of(**given):
    return Parameters.of(vars(Detector(**given)))


def test_it_holds_the_parameters_of_the_detector_by_the_same_names():
    assert vars(of()) == Detector().get_params()


@pytest.mark.parametrize("number", [np.int64(3), np.int8(3)])
def test_whole_numbers_of_numpy_are_whole_numbers(number):
    given = of(epochs=number, batch_size=number, n_members=number, max_shift=number).to_json()
    assert [type(given[name]) for name in ("epochs", "batch_size", "n_members", "max_shift")] == [int] * 4


def test_what_has_a_json_value_is_written_and_the_rest_is_null():
    given = of(
        score_function=neighbours(),
        network=lambda shape, n_classes: None,
        random_state=np.random.RandomState(0),
        learning_rate=np.float32(0.5),
        per_label=np.bool_(True),
    ).to_json()
    assert (given["score_function"], given["network"], given["random_state"]) == (None, None, None)
    assert (given["learning_rate"], given["per_label"]) == (0.5, True)
    assert json.loads(json.dumps(given)) == given
    assert set(given) == set(Detector().get_params()) - {"device"}  # of the machine, not of the model


def test_a_later_change_of_the_detector_changes_nothing():
    detector = Detector()
    given = Parameters.of(vars(detector))
    detector.set_params(epochs=7)
    assert given.epochs == "auto"


def test_devices():
    assert device_of("cpu").type == "cpu"
    assert device_of("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="device='abacus'; it must be 'auto', 'cpu', 'cuda' or 'cuda:0'"):
        of(device="abacus")
