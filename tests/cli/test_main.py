import json
import signal
import subprocess
import sys
import time

import pytest
from problems import Own  # noqa: F401 - torch is in memory already, for the tests that run commands here

import oddkind.lab.exercises
import oddkind.lab.sweep
import oddkind.train.stacks
from oddkind import __version__

pytestmark = pytest.mark.slow

STARTED = "from oddkind.cli.main import main; main()"


@pytest.fixture
def little_data(monkeypatch):
    def load(*digits, load=oddkind.lab.exercises.load_mnist, **more):
        train, test = load(*digits, **more)
        return train[::60], test[::30]

    monkeypatch.setattr(oddkind.lab.exercises, "load_mnist", load)
    monkeypatch.setattr(oddkind.lab.sweep, "load_mnist", load)
    monkeypatch.setattr(oddkind.lab.exercises, "gather", lambda *_, **__: {})


@pytest.mark.parametrize("words", [["--help"], ["lab", "--help"], ["sweep", "--help"], ["--version"]], ids=" ".join)
def test_help_does_not_wait_for_torch(words):
    script = (
        f"import sys; sys.argv[1:] = {words!r}\n"
        "try:\n    from oddkind.cli.main import main; main()\n"
        "finally:\n"
        "    heavy = {'torch', 'sklearn', 'scipy', 'matplotlib', 'numpy', 'h5py', 'nptdms'}\n"
        "    heavy &= set(sys.modules)\n"
        "    print('heavy:', sorted(heavy), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert "heavy: []" in found.stderr
    assert __version__ in found.stdout or "Usage" in found.stdout


def test_help_names_the_commands(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    assert "lab" in out
    assert "sweep" in out


def test_lab_prints_a_table(command, little_data, tmp_path):
    code, out, err = command("lab", "--epochs", "1", "--seeds", "2", "--out", str(tmp_path))
    assert (code, err.strip()) == (0, "")
    for word in ("initial", "rotnet-neighbours", "0.868", "0.856", "±"):
        assert word in out
    assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("words", "locale", "language"), [([], "ko_KR.UTF-8", "ko"), (["--lang", "en"], "ko", "en")])
def test_the_page_of_the_lab_has_a_language(command, little_data, tmp_path, monkeypatch, words, locale, language):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", locale)
    assert command("lab", "--epochs", "1", "--seeds", "1", "--out", str(tmp_path), *words)[0] == 0
    assert f'<html lang="{language}">' in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lab", "sweep"])
def test_json_is_printed_instead_when_asked(command, little_data, tmp_path, name):
    code, out, _ = command(name, "--epochs", "1", "--seeds", "1", "--out", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "results.json").read_text())


def test_sweep_prints_a_table_and_what_would_be_chosen(command, little_data, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text('score = ["msp", "energy"]\ntemperature = [1, "fit"]\nlabel_smoothing = [0.1]\nseeds = 9\n')
    more = ["--seeds", "2", "--epochs", "1", "--label-smoothing", "0,0.2", "--out", str(tmp_path / "out")]
    code, out, err = command("sweep", str(grid), *more)
    assert (code, err.strip()) == (0, "")
    facts = json.loads((tmp_path / "out" / "results.json").read_text())
    assert facts["grid"]["seeds"] == 2
    assert facts["grid"]["label_smoothing"] == [0, 0.2]
    assert len(facts["rows"]) == 8
    for word in ("energy", "fit", "Chosen by the likelihood", "Best on the test data"):
        assert word in out


def test_sweep_has_the_same_numbers_in_two_processes(command, little_data, tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.train.stacks, "STACK_NETWORKS", 2)
    words = "sweep", "--seeds", "2", "--epochs", "1", "--label-smoothing", "0,0.2", "--score", "msp", "--json"
    found = []
    for more in ((), ("--jobs", "2")):
        code, out, err = command(*words, "--out", str(tmp_path / "out"), *more)
        assert (code, err.strip()) == (0, "")
        found.append([{**row, "train_seconds": None} for row in json.loads(out)["rows"]])
    assert found[0] == found[1]


REFUSED = {
    "lab --seeds 0": "seeds",
    "lab --epochs 0": "epochs",
    "lab --normal 0,1,x": "'0,1,x' is not a list such as 0,1,2,3",
    "lab --anomalous ,": "',' is not a list such as 7,8,9",
    "lab --normal 0,1,7": "digit 7 is named twice",
    "lab --normal 4": "at least 2 kinds of normal",
    "lab --anomalous 12": "unknown digit 12; digits are 0 to 9",
    "lab --out FILE/lab": "cannot be written",
    "sweep --seeds 0": "seeds",
    "sweep --score odin": "unknown score 'odin'; known are msp",
    "sweep --task jigsaw": "task",
    "sweep --temperature warm": "'warm' is not a list such as 1,3,fit",
    "sweep --label-smoothing 1": "label_smoothing.0",
    "sweep FILE": "not a TOML file",
    "sweep NONE": "cannot be read",
    "sweep --normal 0,9": "digit 9 is named twice",
    "sweep --out FILE/sweep": "cannot be written",
    "sweep --backend spark": "backend 'spark'; known are loky, ray, dask",
    "sweep --jobs 0": "jobs=0; it must be at least 1",
    "lab --address tcp://head:8786": "needs the backend ray or dask",
}


@pytest.mark.parametrize("line", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(command, tmp_path, line):
    (tmp_path / "file").write_text("seeds = = 1")
    words = line.replace("FILE", str(tmp_path / "file")).replace("NONE", str(tmp_path / "none")).split()
    code, out, err = command(*words, *([] if "--out" in words else ["--out", str(tmp_path / "out")]))
    assert (code, out) == (2, "")
    (text,) = err.strip().splitlines()
    assert text.startswith("oddkind: ")
    assert REFUSED[line] in text


@pytest.mark.parametrize("line", ["labb", "lab --seed 3", "lab --epochs many", "sweep a b", "lab --seeds"])
def test_a_command_that_cannot_be_read_is_answered_with_its_usage(command, line):
    code, out, err = command(*line.split())
    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def test_from_a_shell_bad_input_ends_with_code_2_and_one_line(tmp_path):
    words = ["lab", "--normal", "0,1,7", "--out", str(tmp_path)]
    found = subprocess.run([sys.executable, "-c", STARTED, *words], capture_output=True, text=True)  # noqa: S603
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.strip().splitlines() == [
        "oddkind: digit 7 is named twice; each digit is normal, anomalous or left out"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"])
def test_ended_from_outside_it_leaves_a_checkpoint_and_no_results(tmp_path, sent, code):
    words = ["lab", "--seeds", "1", "--out", str(tmp_path)]
    # Whoever runs the tests in the background has SIGINT ignored, and so would the command.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heard}; from oddkind.train import loop; loop.CHECKPOINT_SECONDS = 0; {STARTED}"
    process = subprocess.Popen([sys.executable, "-c", script, *words], stderr=subprocess.PIPE, text=True)  # noqa: S603
    while not list(tmp_path.glob(".checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(sent)
    err = process.communicate()[1]
    assert process.returncode == code
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == [".checkpoints"]
