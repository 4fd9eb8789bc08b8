"""Answers of the service: each format says what it says offline, to the last digit."""

import io
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from problems import kinds, pictures

from oddkind import explain, load, score_files
from oddkind.files.score import read_as_learnt
from oddkind.model.conformal import alarms
from oddkind.model.martingale import ConformalMartingale
from oddkind.serve import metrics


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def offline(file, X, y=None):
    """What the model says without a service."""
    model = load(file)
    p = model.p_value(X, y)
    return [
        {"score": score, "p_value": chance, "anomalous": alarm}
        for score, chance, alarm in zip(
            model.anomaly_score(X, y).tolist(), p.tolist(), alarms(p, model.false_alarm_rate).tolist(), strict=True
        )
    ]


def said(answer, *names):
    assert answer.status_code == 200, answer.text
    names = names or ("score", "p_value", "anomalous")
    return [{name: result[name] for name in names} for result in answer.json()["results"]]


SAMPLES = {
    "vectors": np.concatenate([kinds(40, seed=1)[0], kinds(5, seed=2)[0] + 20]),
    "folds": kinds(20, seed=1)[0],
    "bytes": pictures(12, seed=1)[0],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_arrays_are_judged_as_offline(serving, models, name):
    client, _ = serving(name)
    X = SAMPLES[name]
    expected = offline(models[name], X)
    for content, kind in (
        (json.dumps(X.tolist()), "application/json"),
        (json.dumps({"samples": X.tolist()}), "application/json; charset=utf-8"),
        (json.dumps(X.tolist()), "application/x-www-form-urlencoded"),
        (npy(X), "application/x-npy"),
        (npy(X), ""),
        (npy(np.asfortranarray(X)), "application/octet-stream"),
    ):
        answer = client.post(f"/models/{name}/score", content=content, headers={"content-type": kind})
        assert said(answer) == expected
        assert [result["sample"] for result in answer.json()["results"]] == [*range(len(X))]
    assert len({one["anomalous"] for one in expected}) == 2 or name != "vectors"


def test_several_arrays_as_files(serving, models):
    client, _ = serving("vectors")
    X = SAMPLES["vectors"]
    sent = [("file", ("a.npy", npy(X[0]))), ("file", ("b", npy(X[1:4])))]
    answer = client.post("/models/vectors/score", files=sent)
    assert said(answer) == offline(models["vectors"], X[:4])
    assert [result["path"] for result in answer.json()["results"]] == ["a.npy", "b", "b", "b"]


def test_labels_are_used_as_offline(serving, models):
    client, _ = serving("vectors")
    X, y = kinds(20, seed=1)
    y = (y + 1) % 3  # another label than the one that it looks like
    expected = offline(models["vectors"], X, y)
    assert expected != offline(models["vectors"], X)
    body = {"samples": X.tolist(), "labels": y.tolist()}
    answer = client.post("/models/vectors/score", json=body)
    assert said(answer) == expected
    assert [result["label"] for result in answer.json()["results"]] == y.tolist()
    of_one = client.post("/models/vectors/score?label=1", content=npy(X))
    assert said(of_one) == offline(models["vectors"], X, np.ones(len(X), int))


@pytest.mark.parametrize("labels", [["7"], [7], [1, 2], [True, "a"]])
def test_labels_that_were_not_learnt_are_refused(serving, labels):
    client, _ = serving("vectors")
    body = {"samples": [[0, 0, 0, 0]] * 3, "labels": labels}
    answer = client.post("/models/vectors/score", json=body)
    assert answer.status_code == 422
    assert "label" in answer.json()["detail"]


def test_labels_for_a_model_without_labels_are_refused(serving):
    client, _ = serving("pictures")
    answer = client.post("/models/pictures/score?label=a", content=npy(np.zeros((1, 1, 64, 64), np.uint8)))
    assert answer.status_code == 422
    assert "no labels" in answer.json()["detail"]


def verdicts(file, path, **changes):
    """What `oddkind score` says of a file, or of a file with a label."""
    model = load(file)
    entries, _ = read_as_learnt(model, path)
    return [vars(verdict) for verdict in score_files(entries, model)]


@pytest.mark.filterwarnings("ignore:.*colours.*")
@pytest.mark.parametrize("name", ["sounds", "pictures", "tables", "arrays"])
def test_files_are_judged_as_offline(serving, models, uploads, name):
    client, _ = serving(name)
    expected = []
    for path in uploads[name]:
        (own,) = verdicts(models[name], path)
        alone = client.post(f"/models/{name}/score", files={"file": (path.name, path.read_bytes())})
        assert said(alone, *own) == [own]
        expected.append(own)
    sent = [("file", (f"{number}/{path.name}", path.read_bytes())) for number, path in enumerate(uploads[name])]
    together = client.post(f"/models/{name}/score", files=sent)
    assert [one | {"path": ""} for one in said(together, *expected[0])] == [one | {"path": ""} for one in expected]


def test_files_as_the_body_itself(serving, models, uploads):
    for name, kind in (("sounds", "audio/wav"), ("tables", "text/csv"), ("pictures", "image/png")):
        client, _ = serving(name)
        path = next(path for path in uploads[name] if path.suffix != ".jpg")
        (expected,) = verdicts(models[name], path)
        for content_type in (kind, *(["application/octet-stream"] if name != "tables" else [])):
            answer = client.post(
                f"/models/{name}/score", content=path.read_bytes(), headers={"content-type": content_type}
            )
            assert said(answer, "score", "p_value", "anomalous", "label") == [
                {key: expected[key] for key in ("score", "p_value", "anomalous", "label")}
            ]


def test_flac_is_judged_as_wav(serving, uploads):
    client, _ = serving("sounds")
    sound, rate = soundfile.read(uploads["sounds"][0], dtype="int16")
    flac = io.BytesIO()
    soundfile.write(flac, sound, rate, format="FLAC")
    answers = [
        client.post("/models/sounds/score", content=content, headers={"content-type": kind})
        for content, kind in ((flac.getvalue(), "audio/flac"), (uploads["sounds"][0].read_bytes(), "audio/wav"))
    ]
    assert said(answers[0]) == said(answers[1])


def test_a_label_of_files_is_used_as_offline(serving, models, uploads):
    client, _ = serving("sounds")
    model = load(models["sounds"])
    for path in uploads["sounds"][:2]:
        entries, _ = read_as_learnt(model, path.parents[3])
        (entry,) = [entry for entry in entries if entry.path == path]
        (expected,) = score_files([entry], model)
        assert expected.label is not None
        for form in ({"label": expected.label}, {}):
            address = "/models/sounds/score" + ("" if form else f"?label={expected.label}")
            answer = client.post(address, files={"file": (path.name, path.read_bytes())}, data=form)
            assert said(answer, "score", "p_value", "label") == [
                {"score": expected.score, "p_value": expected.p_value, "label": expected.label}
            ]
    answer = client.post("/models/sounds/score?label=fan 9", files={"file": ("a.wav", path.read_bytes())})
    assert answer.status_code == 422
    assert "not learnt" in answer.json()["detail"]


def test_a_file_that_cannot_be_read_does_not_stop_others(serving, uploads):
    client, _ = serving("sounds")
    good = uploads["sounds"][0].read_bytes()
    sent = [("file", ("a.wav", good)), ("file", ("b.wav", good[:1000])), ("file", ("c.txt", b"hello"))]
    answer = client.post("/models/sounds/score", files=[*sent, ("file", ("a.wav", good))])
    assert [result["path"] for result in answer.json()["results"]] == ["a.wav", "a (2).wav"]
    assert set(answer.json()["refused"]) == {"b.wav", "c.txt"}
    assert "incomplete" in answer.json()["refused"]["b.wav"]
    alone = client.post("/models/sounds/score", files=sent[1:])
    assert alone.status_code == 422
    assert "b.wav: is incomplete" in alone.json()["detail"]
    assert "/tmp" not in alone.text  # noqa: S108


def test_explanations_are_those_of_offline(serving, models):
    client, _ = serving("vectors")
    X, y = kinds(3, seed=1)
    expected = explain(load(models["vectors"]), X, y)
    answer = client.post("/models/vectors/score?explain=true", json={"samples": X.tolist(), "labels": y.tolist()})
    for result, right in zip(answer.json()["results"], expected, strict=True):
        found = result["explanation"]
        assert result["score"] == right.score
        assert found["arrays"]["evidence"] == right.evidence.tolist()
        assert found["looks_like"] == right.looks_like
        assert [near["row"] for near in found["nearest"]] == [near.row for near in right.neighbours]


@pytest.mark.filterwarnings("ignore:.*colours.*")
@pytest.mark.parametrize("name", ["sounds", "pictures", "tables"])
def test_explanations_of_files(serving, uploads, name):
    client, _ = serving(name)
    path = uploads[name][-1]
    answer = client.post(f"/models/{name}/score?explain=true", files={"file": (path.name, path.read_bytes())})
    plain = client.post(f"/models/{name}/score", files={"file": (path.name, path.read_bytes())})
    assert said(answer) == said(plain)
    (result,) = answer.json()["results"]
    assert result["explanation"]["evidence"][0]["share"] > 0
    arrays = result["explanation"]["arrays"]
    assert np.shape(arrays["evidence"]) == np.shape(arrays["sample"]) == np.shape(arrays["normal"])
    assert (arrays["bands"] is not None) == (name == "sounds")


def test_concerns_are_told(serving, uploads):
    client, _ = serving("pictures", "sounds")
    coloured = next(path for path in uploads["pictures"] if path.suffix == ".jpg")
    answer = client.post("/models/pictures/score", files={"file": ("new.jpg", coloured.read_bytes())})
    assert "colours, which are dropped" in answer.json()["concerns"][0]
    slow = io.BytesIO()
    soundfile.write(slow, np.random.default_rng(0).normal(size=8000) / 10, 2000, format="WAV")
    answer = client.post("/models/sounds/score", files={"file": ("new.wav", slow.getvalue())})
    assert "resampled" in answer.json()["concerns"][0]


def test_models_are_described(serving, models):
    client, _ = serving("vectors", "sounds", "folds")
    found = {model["name"]: model for model in client.get("/models").json()["models"]}
    assert [*found] == ["vectors", "sounds", "folds"]
    assert found["vectors"]["takes"]["arrays"] == {"shape": [4], "dtype": "float32"}
    assert found["vectors"]["takes"]["labels"] == [0, 1, 2]
    assert found["sounds"]["takes"]["files"] == [".wav", ".flac", ".npy"]
    assert found["sounds"]["judged"] == "files"
    assert found["folds"]["folds"] == 3
    for model in found.values():
        assert len(model["fingerprint"]) == 64
        assert model["promised"] is True
        assert model["false_alarm_rate"] == 0.2
        assert model["task"]
    (first, *_) = load(models["vectors"]).folds
    assert found["vectors"]["score"] == first.describe()["score"]


def test_concurrent_requests_are_scored_together(serving, models):
    client, service = serving("vectors")
    X, _ = kinds(200, seed=1)
    right = offline(models["vectors"], X)
    batch = service.models.served["vectors"].batcher
    sizes, count = [], batch.on_batch
    batch.on_batch = lambda n: (sizes.append(n), count(n))
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda row: client.post("/models/vectors/score", json=[row]), X.tolist())]
    assert [said(answer)[0] for answer in answers] == right
    assert sum(sizes) == 200
    assert max(sizes) > 1


def test_metrics_count_what_happened(serving):
    client, _ = serving("vectors", "sounds")
    X = np.concatenate([kinds(30, seed=1)[0], np.full((2, 4), 50.0)])
    odd = sum(one["anomalous"] for one in said(client.post("/models/vectors/score", json=X.tolist())))
    client.post("/models/vectors/score", content=b"garbage")
    client.post("/models/nothing/score", content=b"garbage")
    text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    number = {name: float(value) for name, value in lines.items()}
    assert number['oddkind_judged_total{model="vectors",what="samples"}'] == 32
    assert number['oddkind_alarms_total{model="vectors",what="samples"}'] == odd >= 2
    assert number['oddkind_promised_false_alarm_rate{model="vectors",what="samples"}'] == 0.2
    assert number['oddkind_promised_false_alarm_rate{model="sounds",what="files"}'] == 0.2
    assert number['oddkind_requests_total{route="/models/{name}/score",status="200"}'] == 1
    assert number['oddkind_requests_total{route="/models/{name}/score",status="415"}'] == 1
    assert number['oddkind_requests_total{route="/models/{name}/score",status="404"}'] == 1
    assert number['oddkind_p_value_count{model="vectors",what="samples"}'] == 32
    assert number['oddkind_score_bucket{le="+Inf",model="vectors",what="samples"}'] == 32
    above = [value for name, value in number.items() if name.startswith("oddkind_score_bucket{") and "vectors" in name]
    assert sorted(above) == above
    assert above[-2] <= 30  # the last two samples score above all that were held out
    assert number["oddkind_queue_depth"] == 0
    assert "oddkind_model_info{fingerprint=" in text


def evidence(client):
    lines = client.get("/metrics").text.splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("oddkind_drift_evidence{")}


def test_evidence_of_drift_is_that_of_the_martingale_and_apart_with_labels(serving, monkeypatch):
    client, service = serving("vectors")
    model = service.models.served["vectors"].model
    martingales = {
        known: ConformalMartingale({"": model.calibration.of(with_labels=known).scores}) for known in (True, False)
    }
    label = model.task.labels[0].item()
    for n in range(40):
        rows = [[n, 0, 0, 99], [0, n % 7, 99, 99]]
        for known, body in ((False, rows), (True, {"samples": rows, "labels": [label, label]})):
            for result in said(client.post("/models/vectors/score", json=body)):
                martingales[known].add(result["score"])
    found = evidence(client)
    for known, name in ((True, "known"), (False, "unknown")):
        place = f'oddkind_drift_evidence{{labels="{name}",model="vectors",what="samples"}}'
        assert math.isclose(found.pop(place), martingales[known].evidence, rel_tol=1e-9)
    assert martingales[False].evidence > 100
    assert not found

    monkeypatch.setattr(metrics, "MOST_SCORES", 10)
    client.post("/models/vectors/score", json=[[6, 0, 0, 0]])
    assert evidence(client)['oddkind_drift_evidence{labels="unknown",model="vectors",what="samples"}'] < 10


def test_the_page_loads_nothing_and_runs_only_its_script(serving):
    client, _ = serving("vectors")
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for outside in ("http://", "https://", "src=", "@import", "innerHTML", "insertAdjacentHTML", "document.write"):
        assert outside not in answer.text.replace("http://www.w3.org/2000/svg", ""), outside


def test_openapi_describes_what_there_is(serving):
    client, _ = serving("vectors", "folds")
    found = client.get("/openapi.json").json()
    assert set(found["paths"]) == {"/models", "/models/{name}/score", "/healthz", "/readyz", "/metrics"}
    score = found["paths"]["/models/{name}/score"]["post"]
    named = {parameter["name"]: parameter for parameter in score["parameters"]}
    assert named["name"]["schema"]["enum"] == ["vectors", "folds"]
    assert {"application/json", "multipart/form-data", "audio/wav"} <= set(score["requestBody"]["content"])
    assert {"200", "401", "413", "415", "422", "429", "503"} <= set(score["responses"])
    assert "security" not in score
    for example in score["requestBody"]["content"]["application/json"]["examples"].values():
        body = example["value"] if isinstance(example["value"], dict) else {"samples": example["value"]}
        answer = client.post("/models/vectors/score", json={"samples": body["samples"]})
        assert answer.status_code == 200
    guarded, _ = serving("vectors", token="a-long-enough-token")  # noqa: S106 - made up
    found = guarded.get("/openapi.json").json()
    for path in ("/models", "/models/{name}/score", "/metrics"):
        (only,) = found["paths"][path].values()
        assert only["security"] == [{"HTTPBearer": []}]
