"""Scores and p-values of every score and shape of input, as they were before scores learnt once."""

from dataclasses import replace

import numpy as np
import pytest
from golden import GOLDEN, SHAPES, problem
from numpy.testing import assert_allclose

from oddkind import SCORES, Outputs
from oddkind.model.combining import combined, combined_among_others
from oddkind.model.conformal import p_values
from oddkind.model.fitted_score import learn_score
from oddkind.model.scores import components_of
from oddkind.model.task import Task

with np.load(GOLDEN) as archive:
    RECORDED = dict(zip(archive["keys"].tolist(), archive["values"], strict=True))


@pytest.mark.parametrize("name", sorted({key.split("/")[2] for key in RECORDED}))
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_and_p_values_are_those_recorded(shape, name):
    views, labels, *_ = SHAPES[shape]
    task = Task(None if labels == 1 else np.arange(labels), tuple(map(str, range(views))), views)
    score, found = SCORES[name], {}
    for n_members in (1, 3):
        normal, held_out, new = problem(shape, n_members, Outputs)
        for temperature in (1.0, 2.5):
            fitted = learn_score(name, score, normal, temperature, 1.7, task.n_classes)
            for known in (True, False):
                key = f"{shape}/{n_members}/{name}/{'labelled' if known else 'unlabelled'}/{temperature:g}"
                if key not in RECORDED:
                    continue
                usual, others = (
                    fitted(
                        [replace(o, targets=o.targets if known else task.targets(None, len(o))) for o in members],
                        temperature,
                    )
                    for members in (held_out, new)
                )
                scores = combined(others, usual, fitted.weights, fitted.fuse)
                found[key] = scores, p_values(scores, combined_among_others(usual, fitted.weights, fitted.fuse))
    assert found or any(component.needs_rotations for component in components_of(score))
    for key, (scores, p) in found.items():
        # Sums and exponentials in single precision are rounded by the instructions that a processor has.
        assert_allclose(scores, RECORDED[key][0], rtol=2e-6, atol=1e-12, err_msg=key)
        assert_allclose(p, RECORDED[key][1], rtol=1e-12, err_msg=key)
