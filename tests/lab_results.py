"""Results of the lab, made up: rows, outputs of networks and pictures, without any training."""

import numpy as np

from oddkind.lab.shown import SHOWN, SMOOTHED, ShownNetwork
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples
from oddkind.study.evaluation import Configuration, Result, Row

HOSTILE = "<script>document.title='broken'</script>"


def result_of(draw, seeds):
    def line(name, task="labels", score="msp", lecture=None, max_shift=None, smoothing=0.0, temperature=1.0):
        setting = Configuration(name, task, smoothing, temperature, score, lecture, max_shift=max_shift)
        return Row(setting, tuple(draw.uniform(0.6, 0.9, seeds).tolist()), *[(0.9,) * seeds] * 4, None)

    rows = [line(name, lecture=0.75, smoothing=smoothing) for smoothing, name in SMOOTHED.items()]
    rows += [line("temperature-3", smoothing=0.1, temperature=3.0), line("temperature-fitted", temperature="fit")]
    rows += [line("rotnet", "rotations", "rotation-distance", 0.856)]
    rows += [line("rotnet-neighbours", "rotations", "cosine-neighbours")]
    rows += [line("rotnet-shifted", "rotations", "rotation-distance", max_shift=2)]
    rows += [line("rotnet-shifted-larger", "rotations", "rotation-distance", max_shift=4)]
    rows += [line("initial-max-logit", score="max-logit"), line(HOSTILE, task="labels+rotations")]
    return Result(tuple(rows))


def shown_of(draw, samples):
    """Networks that know more about the normal samples, and of which each is another."""
    normal = len(np.unique(samples.labels[~samples.anomalous]))

    def outputs(known, views, classes):
        targets = (
            draw.integers(0, classes, (len(known), views)) if views == 1 else np.tile(np.arange(views), (len(known), 1))
        )
        logits = draw.normal(size=(len(known), views, classes)) * 2
        logits += 4 * known[:, None, None] * (targets[..., None] == np.arange(classes))
        return Outputs(logits.astype(np.float32), draw.normal(size=(len(known), views, 6)).astype(np.float32), targets)

    return {
        name: ShownNetwork(outputs(~samples.anomalous, *shape), outputs(np.ones(200, bool), *shape), 0.8)
        for name in SHOWN
        for shape in [(4, 4) if name.startswith("rotnet") else (1, normal)]
    }


def samples_of(draw, normal=(0, 1, 2, 3), anomalous=(7, 8), name="noise", each=40, side=6):
    labels = np.repeat([*normal, *anomalous], each)
    inputs = draw.integers(0, 256, (len(labels), 1, side, side)).astype(np.uint8)
    return Samples(inputs, labels, np.isin(labels, anomalous), name=name)
