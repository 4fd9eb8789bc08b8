"""A run that was killed and started again ends with the same bits as one that was not."""

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick, weights, with_batch_norm, with_both, with_dropout
from safetensors import safe_open

from oddkind import Detector, InputError, Samples, fit_fleet, fit_together
from oddkind.train import loop as training
from oddkind.train.job import Job
from oddkind.train.loop import train
from oddkind.train.networks import build
from oddkind.train.transforms import Affine, Identity

pytestmark = pytest.mark.slow

N, EPOCHS, BATCH = 40, 3, 8
STEPS = EPOCHS * N // BATCH


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)


def jobs_of(network="mlp", n_models=1):
    draw = torch.Generator().manual_seed(0)
    shape = {"lecture": (1, 16, 16), "signal": (2, 40)}.get(network, (4,))
    inputs = torch.randn(N, *shape, generator=draw)
    targets = torch.randint(3, (N, 1), generator=draw).numpy()
    return [
        Job(build(network, shape, 3, seed), inputs, Identity(), targets, np.arange(N), seed, 0.1, 1e-2)
        for seed in range(n_models)
    ]


class Interruption:
    """Ends a run, as Ctrl-C does, once it has done a number of steps; counts them."""

    def __init__(self, after=None):
        self.after, self.steps = after, 0

    def __call__(self, done):
        self.steps += 1
        if self.steps == self.after:
            raise KeyboardInterrupt


def run(jobs, folder, on_progress=None, *, epochs=EPOCHS, batch_size=BATCH):
    """Train copies of the networks: everything that they and the losses hold, as bits."""
    jobs = [replace(one, network=copy.deepcopy(one.network)) for one in jobs]
    losses = train(
        jobs,
        epochs=epochs,
        batch_size=batch_size,
        device=torch.device("cpu"),
        checkpoints=folder,
        on_progress=on_progress or Interruption(),
    )
    states = [tensor.numpy().tobytes() for one in jobs for tensor in one.network.state_dict().values()]
    return [losses.tobytes(), *states]


@pytest.mark.parametrize(
    ("network", "n_models"),
    [("lecture", 3), ("mlp", 1), ("signal", 2), (with_dropout, 1), (with_batch_norm, 1), (with_both, 1)],
)
def test_interrupted_at_random_steps_it_ends_with_the_same_bits(tmp_path, network, n_models):
    jobs, draw, found = jobs_of(network, n_models), np.random.default_rng(0), None
    unbroken = run(jobs, None)
    steps = interruptions = 0
    while found is None:
        interruption = Interruption(draw.integers(2, 7))
        try:
            found = run(jobs, tmp_path, interruption)
        except KeyboardInterrupt:
            interruptions += 1
        steps += interruption.steps
    assert found == unbroken
    assert interruptions >= 2
    assert steps == STEPS + interruptions  # an interrupted step is done again, and no other


def test_a_run_that_ended_is_not_done_again(tmp_path):
    first, again = Interruption(), Interruption()
    assert run(jobs_of(), tmp_path, first) == run(jobs_of(), tmp_path, again)
    assert (first.steps, again.steps) == (STEPS, 1)  # told at once that all is done


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_damaged_checkpoint_is_not_used(tmp_path, kept):
    with pytest.raises(KeyboardInterrupt):
        run(jobs_of(), tmp_path, Interruption(7))
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:kept])
    counted = Interruption()
    assert run(jobs_of(), tmp_path, counted) == run(jobs_of(), None)
    assert counted.steps == STEPS


def edited(**changes):
    return lambda jobs: [replace(one, **changes) for one in jobs]


OTHERS = {
    "seed": edited(seed=5),
    "label smoothing": edited(label_smoothing=0.2),
    "learning rate": edited(learning_rate=2e-2),
    "mixup": edited(mixup=0.5),
    "weight decay": edited(weight_decay=0.2),
    "rows": edited(rows=np.arange(N)[::-1]),
    "targets": lambda jobs: [replace(one, targets=(one.targets + 1) % 3) for one in jobs],
    "inputs": lambda jobs: [replace(one, inputs=one.inputs + 1) for one in jobs],
    "weights": lambda jobs: [replace(one, network=build(with_both, (4,), 3, 9)) for one in jobs],
    "models": lambda jobs: jobs * 2,
}


@pytest.mark.parametrize("change", OTHERS)
def test_another_runs_checkpoint_is_never_used(tmp_path, change):
    jobs = jobs_of("mlp" if change == "models" else with_both)
    with pytest.raises(KeyboardInterrupt):
        run(jobs, tmp_path, Interruption(7))
    other, counted = OTHERS[change](jobs), Interruption()
    assert run(other, tmp_path, counted) == run(other, None)
    assert counted.steps == STEPS


def test_the_checkpoint_of_a_run_with_another_number_in_its_views_is_never_used(tmp_path):
    maps = np.random.default_rng(0).normal(size=(8, 12, 12)).astype(np.float32)
    others = maps.copy()
    others[4, 6, 6] += 1e-6
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 12, generator=draw)
    network = build("mlp", (12,), 8, 0)
    jobs = [[Job(network, inputs, Affine(m), np.tile(np.arange(8), (N, 1)), np.arange(N), 0)] for m in (maps, others)]
    with pytest.raises(KeyboardInterrupt):
        run(jobs[0], tmp_path, Interruption(7))
    counted = Interruption()
    assert run(jobs[1], tmp_path, counted) == run(jobs[1], None)
    assert counted.steps == STEPS


@pytest.mark.parametrize("changed", [{"epochs": 2}, {"batch_size": 5}])
def test_the_checkpoint_of_a_run_of_another_length_is_never_used(tmp_path, changed):
    with pytest.raises(KeyboardInterrupt):
        run(jobs_of(), tmp_path, Interruption(7))
    assert run(jobs_of(), tmp_path, **changed) == run(jobs_of(), None, **changed)


def test_the_checkpoint_of_a_network_with_other_dropout_is_never_used(tmp_path):
    mild, strong = jobs_of(with_dropout), jobs_of(with_dropout)
    strong[0].network.between[0].p = 0.9
    with pytest.raises(KeyboardInterrupt):
        run(mild, tmp_path, Interruption(7))
    assert run(strong, tmp_path) == run(strong, None)


def test_the_checkpoint_of_a_network_that_began_with_another_state_is_never_used(tmp_path):
    fresh, used = jobs_of(with_batch_norm), jobs_of(with_batch_norm)
    used[0].network.between[0].running_mean.fill_(3)
    with pytest.raises(KeyboardInterrupt):
        run(fresh, tmp_path, Interruption(7))
    assert run(used, tmp_path) == run(used, None)


def test_checkpoints_are_safetensors_whole_files_and_no_pickle(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(jobs_of("lecture", 2), tmp_path / "new", Interruption(7))
    (file,) = (tmp_path / "new").iterdir()
    assert file.suffix == ".safetensors"
    content = file.read_bytes()
    json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    with safe_open(file, "pt") as saved:
        assert saved.metadata() == {"steps": "6"}
        assert saved.get_tensor("weights").shape[0] == 2


# --- Through the detector -----------------------------------------------------------------------------------


def test_detectors_and_fleets_resume_where_they_were_interrupted(tmp_path):
    inputs, labels = pictures()

    def fit(folder, on_progress=None):
        pair = [quick(random_state=seed, epochs=2 + seed, batch_size=32, n_members=2) for seed in range(2)]
        fit_together(pair, inputs, labels, checkpoints=folder, on_progress=on_progress or Interruption())
        machines = {"a": Samples(inputs[:120], labels[:120]), "b": Samples(inputs[100:], labels[100:])}
        return [*pair, *fit_fleet(machines, quick(batch_size=32), checkpoints=folder).values()]

    for after in (3, 11, 9):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, Interruption(after))
    for found, expected in zip(fit(tmp_path), fit(None), strict=True):
        assert_array_equal(found.model_.report.losses, expected.model_.report.losses)
        assert_array_equal(found.anomaly_score(inputs), expected.anomaly_score(inputs))
        assert found.offset_ == expected.offset_


@pytest.mark.parametrize("part", [np.s_[::2], np.s_[::-1], np.s_[:, :, ::-1]], ids=str)
def test_samples_that_lie_in_any_order_in_memory_have_checkpoints_too(tmp_path, part):
    inputs, labels = pictures()
    inputs, labels = inputs[part], labels[part if isinstance(part, slice) else np.s_[:]]
    found, expected = quick(), quick()
    fit_together([found], inputs, labels, checkpoints=tmp_path)
    fit_together([expected], inputs.copy(), labels)
    assert_array_equal(weights(found.model_.members[0].network), weights(expected.model_.members[0].network))


def test_checkpoints_are_refused_without_a_seed(tmp_path):
    with pytest.raises(InputError, match="random_state=None draws new numbers at each start; pass a number"):
        fit_together([Detector()], *kinds(), checkpoints=tmp_path)
    assert not list(tmp_path.iterdir())


# --- A real kill --------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from problems import kinds, quick, weights
from oddkind import fit_together
from oddkind.train import loop as training

training.CHECKPOINT_SECONDS = -1
torch.set_num_threads(1)
folder, result = Path(sys.argv[1]), Path(sys.argv[2])
detectors = [quick(epochs=8, n_members=3), quick(epochs=12, task="labels+affine")]
fit_together(detectors, *kinds(), checkpoints=folder, on_progress=lambda done: print(done, flush=True))
def own(detector):
    return [member.network for member in detector.model_.members]


values = {f"weights{i}{m}": weights(network) for i, d in enumerate(detectors) for m, network in enumerate(own(d))}
values |= {f"losses{i}": d.model_.report.losses for i, d in enumerate(detectors)}
np.savez(result, **values)
"""


def test_killed_at_random_points_it_ends_with_the_same_bits(tmp_path):
    draw = np.random.default_rng(0)

    def start(folder, result):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / folder), str(tmp_path / result)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    unbroken = start("never-killed", "unbroken.npz")
    for _ in range(3):
        process = start("killed", "killed.npz")
        for _ in range(draw.integers(6, 40)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed.npz").exists()
    last = start("killed", "killed.npz")
    lines, whole = (len(process.communicate()[0].splitlines()) for process in (last, unbroken))
    assert (last.returncode, unbroken.returncode) == (0, 0)
    assert 0 < lines < whole  # it went on, and did not begin again
    with np.load(tmp_path / "killed.npz") as found, np.load(tmp_path / "unbroken.npz") as expected:
        assert set(found) == set(expected)
        for name in expected:
            assert_array_equal(found[name], expected[name])
