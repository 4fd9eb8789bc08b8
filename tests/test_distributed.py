"""Work that processes share: the same bits on every engine, each array sent once, and processes that die."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.parallel import get_active_backend
from numpy.testing import assert_array_equal
from problems import kinds, quick, weights

import oddkind.train.stacks
from oddkind import Detector, InputError, Samples, evaluate_settings, fit_together, leave_one_label_out, train_settings
from oddkind.arrays import to_memmap
from oddkind.distributed import ATTEMPTS, run, workers
from oddkind.study.evaluation import Configuration

# Engines leave sockets and files to the end of the process.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # When a run ends early, a thread of loky may look for a task that joblib has just withdrawn.
    pytest.mark.filterwarnings("ignore:Exception in thread ExecutorManagerThread"),
]

ENGINES = ("loky", "dask", "ray")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    """Two processes of each engine, for all tests that take them."""
    if request.param != "loky":
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[request.param])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with workers(2, request.param):
            yield request.param


# --- Tasks --------------------------------------------------------------------------------------------------


def test_tasks_run_in_other_processes_with_a_thread_each_and_their_results_are_in_order(engine):
    def task(number, on_progress):
        import torch

        time.sleep(0.1 * (number % 3 == 0))
        return number, os.getpid(), torch.get_num_threads()

    progress = []
    found = run(task, range(7), progress.append)
    assert [number for number, _, _ in found] == list(range(7))
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {1}
    assert progress == [(n + 1) / 7 for n in range(7)]


def test_processes_keep_the_memory_that_they_will_need_again(engine):
    assert run(lambda task, on_progress: os.environ.get("MALLOC_TRIM_THRESHOLD_"), range(2)) == [None, None]


def test_one_task_stays_here(engine):
    assert run(lambda task, on_progress: os.getpid(), [0]) == [os.getpid()]


def test_without_a_configuration_tasks_stay_here_and_tell_how_far_they_are():
    def task(number, on_progress):
        on_progress(0.5)
        on_progress(1)
        return os.getpid()

    progress = []
    with joblib.parallel_config("sequential"):  # whatever engine the tests have started
        assert run(task, range(2), progress.append) == [os.getpid()] * 2
    assert progress == [0.25, 0.5, 0.75, 1]


def test_a_large_array_is_sent_once(engine, monkeypatch):
    sent = []
    backend = get_active_backend()[0]

    def spy(owner, name):
        original = getattr(owner, name)

        def counted(value, *args, **how):
            sent.append(value)
            return original(value, *args, **how)

        monkeypatch.setattr(owner, name, counted)

    if engine == "ray":
        import ray

        spy(ray, "put")
    if engine == "dask":
        spy(backend.client, "scatter")
    large = np.arange(400_000.0)

    def task(given, on_progress):
        number, values = given
        values[0] = 7  # a copy of its own
        return float(values[number]), type(values).__name__

    found = run(task, [(number, large) for number in range(5)])
    assert [value for value, _ in found] == [7, 1, 2, 3, 4]
    assert large[0] == 0
    if engine == "loky":
        assert {kind for _, kind in found} == {"memmap"}
    else:
        assert len([value for value in sent if isinstance(value, np.ndarray)]) == 1


def test_an_array_that_is_mapped_from_a_file_without_a_name_is_sent_too(engine):
    large = to_memmap([np.arange(300_000.0)] * 2)
    found = run(lambda number, on_progress: float(large[300_000 + number]), range(3))
    assert found == [0, 1, 2]


def test_warnings_are_given_here(engine):
    def task(number, on_progress):
        if number == 1:
            warnings.warn("one is odd", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="one is odd"):
        run(task, range(3))


def test_what_a_task_refuses_is_refused_here(engine):
    def task(number, on_progress):
        if number == 2:
            raise InputError("two is too much")
        return number

    with pytest.raises(InputError) as refusal:
        run(task, range(4))
    assert str(refusal.value) == "two is too much"
    assert "in task" in refusal.value.__notes__[0]


@pytest.mark.filterwarnings("ignore:.* lost processes; their tasks are run again")
def test_tasks_of_a_process_that_died_are_run_again(engine, tmp_path):
    def task(number, on_progress):
        (tmp_path / f"{number} {time.time_ns()}").touch()
        time.sleep(0.2)
        if number == 4 and len(list(tmp_path.glob("4 *"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    finished = []
    assert run(task, range(8), finished.append) == [number**2 for number in range(8)]
    assert finished == [(n + 1) / 8 for n in range(8)]
    starts = [len(list(tmp_path.glob(f"{number} *"))) for number in range(8)]
    assert starts[4] == 2
    assert max(starts) == 2
    assert engine == "dask" or starts[0] == 1  # a worker of Dask keeps results, and takes them along


def test_an_engine_that_loses_a_process_each_time_is_given_up(tmp_path):
    def task(number, on_progress):
        (tmp_path / f"{number} {time.time_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    with workers(2), pytest.warns(UserWarning, match="LokyBackend lost processes"), pytest.raises(RuntimeError):
        run(task, range(2))
    assert len(list(tmp_path.iterdir())) <= 2 * ATTEMPTS


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"backend": "spark"}, "backend 'spark'; known are loky, ray, dask"),
        ({"jobs": 0}, "jobs=0; it must be at least 1"),
        ({"address": "tcp://head:8786"}, "needs the backend ray or dask"),
    ],
)
def test_options_that_cannot_be_used_are_refused(how, message):
    with pytest.raises(InputError, match=message), workers(**how):
        pass


# --- What is fitted -----------------------------------------------------------------------------------------

SETTINGS = [
    Configuration("plain"),
    Configuration("smooth", label_smoothing=0.1, score="max-logit"),
    Configuration("near", score="euclidean-neighbours"),
]


def studied():
    """All numbers of a small study; samples large enough to be sent as arrays of their own."""
    inputs, labels = kinds(1000)
    inputs = np.tile(inputs, 70)
    anomalous = np.arange(1000) >= 900
    train, test = Samples(inputs[:600], labels[:600]), Samples(inputs[600:], labels[600:], anomalous[600:])
    like = quick(network="mlp", epochs=1, batch_size=100)
    trained = train_settings(SETTINGS, train, seeds=range(3), like=like)
    result = evaluate_settings(SETTINGS, trained, train, test)
    rows = [(row.auc, row.accuracy, row.nll, row.ece) for row in result.rows]
    return np.array(rows), leave_one_label_out(train, SETTINGS, seeds=range(2), like=like).auc


@pytest.fixture(scope="module")
def expected():
    with pytest.MonkeyPatch.context() as patch, joblib.parallel_config("sequential"):
        patch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 2)
        return studied()


def test_a_study_has_the_same_bits_in_one_process_and_in_many(engine, expected, monkeypatch):
    monkeypatch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 2)
    for found, alone in zip(studied(), expected, strict=True):
        assert_array_equal(found, alone)


def test_a_generator_is_drawn_from_in_the_same_order_as_in_one_process(monkeypatch):
    monkeypatch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 2)

    def fitted():
        generator = np.random.RandomState(0)
        detectors = [Detector(epochs=1, random_state=generator, false_alarm_rate=0.2) for _ in range(4)]
        fit_together(detectors, *kinds())
        return [weights(detector.model_.members[0].network) for detector in detectors], generator.randint(2**31)

    with joblib.parallel_config("sequential"):
        alone, draw = fitted()
    with workers(2):
        found, same = fitted()
    assert_array_equal(found, alone)
    assert draw == same


SCRIPT = """
import sys
from pathlib import Path

import numpy as np
from problems import kinds, quick, weights

import oddkind.train.stacks
from oddkind import fit_together
from oddkind.distributed import workers

oddkind.train.stacks.STACK_NETWORKS = 2
detectors = [quick(epochs=30, batch_size=8, random_state=seed) for seed in range(12)]
with workers(2):
    fit_together(detectors, *kinds(), checkpoints=Path(sys.argv[1]), on_progress=lambda done: print(done, flush=True))
np.save(sys.argv[2], [weights(detector.model_.members[0].network) for detector in detectors])
"""


@pytest.mark.slow
def test_a_killed_run_trains_no_finished_stack_again(tmp_path, monkeypatch):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "checkpoints"), str(tmp_path / "found.npy")]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    assert killed.stdout is not None
    for _ in range(2):  # of 6 stacks
        killed.stdout.readline()
    killed.kill()
    killed.communicate()
    time.sleep(3)  # its processes notice, and end
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "checkpoints").glob("*.safetensors")}
    assert len(before) >= 2
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "checkpoints").glob("*.safetensors")}
    assert len(after) == 6
    assert sum(after[name] == stamp for name, stamp in before.items()) >= 2
    monkeypatch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 2)
    expected = [quick(epochs=30, batch_size=8, random_state=seed) for seed in range(12)]
    with joblib.parallel_config("sequential"):
        fit_together(expected, *kinds())
    assert_array_equal(np.load(tmp_path / "found.npy"), [weights(one.model_.members[0].network) for one in expected])


def test_a_folder_that_a_process_does_not_see_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    monkeypatch.setattr(Path, "is_dir", lambda path: path != folder)
    with pytest.warns(UserWarning, match="does not see the folder .*checkpoints, so what it trains is lost"):
        fit_together([quick()], *kinds(), checkpoints=folder)
    assert not list(folder.iterdir())


def test_the_configuration_of_joblib_is_what_counts(monkeypatch):
    monkeypatch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 1)
    calls = []
    monkeypatch.setattr(oddkind.train.stacks, "train", lambda *_, **__: calls.append(1))
    with joblib.parallel_config("loky", n_jobs=2):
        fit_together([quick(random_state=seed) for seed in range(2)], *kinds())
    assert not calls  # nothing was trained in this process
