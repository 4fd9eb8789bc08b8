"""What is refused, and how: every limit, who may ask, and garbage of all kinds."""

import io
import json
import struct
import threading
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oddkind.model.model import FittedModel
from oddkind.serve.limits import Gate, Limits, RequestError


def refusal(answer, status):
    assert answer.status_code == status, answer.text
    assert [*answer.json()] == ["detail"]
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert "Traceback" not in detail
    return detail


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def png(width, height, data=b""):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_a_body_that_is_too_large(serving):
    client, _ = serving("vectors", max_body=1000)
    for chunks in (b"[" + b"1," * 5000, iter([b"[1,"] * 5000)):  # its length is announced, or not
        assert "1,000 bytes" in refusal(client.post("/models/vectors/score", content=chunks), 413)
    assert client.post("/models/vectors/score", json=[[0, 0, 0, 0]]).status_code == 200


def test_too_many_samples(serving, uploads):
    client, _ = serving("vectors", "sounds", max_samples=5)
    many = np.zeros((6, 4))
    for body in ({"json": many.tolist()}, {"json": {"samples": many.tolist()}}, {"content": npy(many)}):
        assert "more than 5 samples" in refusal(client.post("/models/vectors/score", **body), 413)
    refusal(client.post("/models/vectors/score", content=b"[" + b"0," * 1000 + b"0]"), 413)
    assert client.post("/models/vectors/score", json=many[:5].tolist()).status_code == 200
    wav = uploads["sounds"][0].read_bytes()  # two windows
    sent = [("file", (f"{number}.wav", wav)) for number in range(3)]
    assert "more than 5 samples" in refusal(client.post("/models/sounds/score", files=sent), 413)
    assert client.post("/models/sounds/score", files=sent[:2]).status_code == 200


def test_a_recording_that_unpacks_to_hours(serving):
    client, _ = serving("sounds", max_samples=100)
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(4000 * 3600, np.int16), 4000, format="FLAC")
    assert len(silence.getvalue()) < 200_000
    answer = client.post("/models/sounds/score", files={"file": ("a.flac", silence.getvalue())})
    assert "more than 100 samples" in refusal(answer, 413)


def test_too_many_explanations(serving):
    client, _ = serving("vectors", max_explained=2)
    answer = client.post("/models/vectors/score?explain=true", json=[[0, 0, 0, 0]] * 3)
    assert "at most 2 samples are explained" in refusal(answer, 413)


def test_pictures_of_absurd_size(serving):
    client, _ = serving("pictures", max_pixels=10_000)
    for width, height in ((200, 200), (30_000, 30_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        content = png(width, height, b"\0" * 100)
        answer = client.post("/models/pictures/score", content=content, headers={"content-type": "image/png"})
        assert answer.status_code in (413, 422)
        assert "pixels" in refusal(answer, answer.status_code) or width > 60_000
    answer = client.post("/models/pictures/score", files={"file": ("a.png", png(50, 50, b"\0" * 51 * 50))})
    assert answer.status_code == 200, answer.text


def test_a_full_queue(serving):
    client, service = serving("vectors", queue=1)
    body = [[0, 0, 0, 0]]
    with service.gate.enter(10):
        assert client.get("/readyz").status_code == 503
        answer = client.post("/models/vectors/score", json=body)
        assert "too many requests" in refusal(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
    assert client.post("/models/vectors/score", json=body).status_code == 200
    assert client.get("/readyz").status_code == 200


def test_the_gate_limits_requests_and_bytes():
    gate = Gate(Limits(max_body=100, queue=3))
    with gate.enter(700):
        with pytest.raises(RequestError, match="too many"), gate.enter(101):
            pass
        with gate.enter(100), gate.enter(0), pytest.raises(RequestError), gate.enter(0):
            pass
    assert (gate.requests, gate.bytes) == (0, 0)


def test_scoring_that_takes_too_long(serving):
    client, service = serving("vectors", timeout=0.2)
    stop = threading.Event()
    batcher = service.models.served["vectors"].batcher
    run = batcher._run
    batcher._run = lambda function, *given: run(lambda: stop.wait(5) and function(*given))
    try:
        answer = client.post("/models/vectors/score", json=[[0, 0, 0, 0]])
        assert "no answer within 0.2 s" in refusal(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        stop.set()
    batcher._run = run
    assert client.post("/models/vectors/score", json=[[0, 0, 0, 0]]).status_code == 200


def test_the_token(serving):
    client, _ = serving("vectors", token="a-long-enough-token")  # noqa: S106 - made up
    body = [[0, 0, 0, 0]]
    for address, ask in (("/models", client.get), ("/metrics", client.get), ("/models/vectors/score", client.post)):
        for headers in (
            {},
            {"authorization": "Bearer another-token-of-it"},
            {"authorization": "Bearer"},
            {"authorization": "Basic a-long-enough-token"},
            {"authorization": b"Bearer \xff\xfe"},
            {"authorization": "Bearer a-long-enough-token-and-more"},
        ):
            answer = ask(address, headers=headers)
            assert "token" in refusal(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "bearer a-long-enough-token", "host": "example.com"}
    assert client.post("/models/vectors/score", json=body, headers=right).status_code == 200
    for address in ("/", "/healthz", "/readyz", "/openapi.json"):
        assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    "host", ["example.com", "example.com:8000", "10.0.0.1", "", "127.0.0.1.example.com", "[::2]:80"]
)
def test_without_a_token_only_this_computer_is_answered(serving, host):
    client, _ = serving("vectors")
    assert "only this computer" in refusal(client.get("/models", headers={"host": host}), 403)
    for own in ("localhost", "localhost:8000", "127.0.0.1:80", "127.1.2.3", "[::1]:8000"):
        assert client.get("/models", headers={"host": own}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 415, "not known"),
        (b"[", 422, "EOF"),
        (b"[]", 422, "at least 1"),
        (b"[[]]", 422, "at least 4"),
        (b"[[1,2,3,4],[1,2,3]]", 422, "[1]"),
        (b"[[1,2,3,NaN]]", 422, "[0][3]"),
        (b"[[1,2,3,Infinity]]", 422, "[0][3]"),
        (b"[[1,2,3,1e999]]", 422, "[0][3]"),
        (b"[[1,2,3,1e300]]", 422, "float32"),
        (b"[[1,2,3,null]]", 422, "[0][3]"),
        (b'[[1,2,3,"4"]]', 422, "[0][3]"),
        (b"[[1,2,3," + b"9" * 5000 + b"]]", 422, ""),
        (b"[[[1],[2],[3],[4]]]", 422, "[0][0]"),
        (b"[" * 100_000, 422, ""),
        (b'{"samples":' * 1000, 422, ""),
        (b'{"samples":[[1,2,3,4]],"labels":null}', 422, "labels"),
        (b'{"samples":[[1,2,3,4]],"more":1}', 422, "more"),
        (b'{"samples":[[1,2,3,4]],"labels":["\\ud800"]}', 422, ""),
        (b'{"labels":[1]}', 422, "samples"),
        (b"\xff\xfe[[1,2,3,4]]", 415, "not known"),
        (npy(np.zeros((2, 5))), 422, "shape"),
        (npy(np.zeros((0, 4))), 422, "shape"),
        (npy(np.zeros((1, 4), complex)), 422, "numbers"),
        (npy(np.array([["a"] * 4])), 422, "numbers"),
        (npy(np.full((1, 4), np.nan)), 422, "NaN"),
        (npy(np.zeros((2, 4)))[:-1], 422, "follow"),
        (npy(np.zeros((2, 4)))[:20], 422, "not a complete"),
        (npy(np.array([{"a": 1}] * 4, object)), 422, "not a complete"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr':'<f8','fortran_order':False,'shape':(%d,4)}" % 10**12, 422, ""),
        (b"RIFF", 422, "learnt from arrays"),
        (b"PK\x03\x04", 415, "not known"),
    ],
    ids=lambda value: None if not isinstance(value, bytes) else value[:30].decode("latin-1"),
)
def test_arrays_that_cannot_be_read(serving, body, status, why):
    client, _ = serving("vectors")
    content_type = {"content-type": "application/octet-stream"}
    detail = refusal(client.post("/models/vectors/score", content=body, headers=content_type), status)
    assert why in detail


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.wav", b"", "is empty"),
        ("a.wav", b"RIFF", "cannot be read|not a recording|incomplete"),
        ("a.wav", b"fLaC" + b"\0" * 100, "does not begin"),
        ("a.flac", b"fLaC" + b"\0" * 100, "libsndfile"),
        ("a.png", png(5, 5), "learnt sounds"),
        ("a.exe", b"MZ", "is not read"),
        ("a", b"MZ", "is not read"),
        ("a.npy", npy(np.zeros(10))[:-3], "follow"),
        ("../../../etc/passwd.wav", b"RIFF" + b"\0" * 40, ""),
        ("a\r\nb\x00.wav", b"RIFF" + b"\0" * 40, ""),
        (".wav", b"RIFF" + b"\0" * 40, ""),
        ("x" * 1000 + ".wav", b"RIFF" + b"\0" * 40, ""),
        ("팬.wav", b"RIFF" + b"\0" * 40, "팬.wav"),
    ],
)
def test_files_that_cannot_be_read(serving, name, content, why):
    client, _ = serving("sounds")
    detail = refusal(client.post("/models/sounds/score", files={"file": (name, content)}), 422)
    assert any(one in detail for one in why.split("|"))
    assert "oddkind-serve" not in detail


def test_a_table_of_paths_reads_no_file_of_the_server(serving, tmp_path):
    client, _ = serving("tables")
    secret = tmp_path / "secret.csv"
    secret.write_text("flow;pressure\n1;2\n", encoding="utf-8")
    answer = client.post("/models/tables/score", files={"file": ("a.csv", f"path\n{secret}\n".encode())})
    assert "manifest" in refusal(answer, 422)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a;" * 300_000 + b"\n1;2\n", "more than 10,000 columns"),
        (b'"\n";' * 300_000 + b"\n1;2\n", "more than 10,000 columns"),
        (b"flow;pressure\n" + b"1;" * 300_000 + b"\n", ""),
        (b"flow;pressure\r" * 1000, ""),
        (b"flow;pressure\n", ""),
        (b"flow;pressure\n" + b"x" * 10_000 + b";1\n", " …"),
        (b"flow\n1\n", "no column"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[:20].decode(),
)
def test_tables_that_cannot_be_read(serving, content, why):
    client, _ = serving("tables", timeout=10)
    detail = refusal(client.post("/models/tables/score", files={"file": ("a.csv", content)}), 422)
    assert why in detail
    assert len(detail) < 1100


def test_forms_that_cannot_be_read(serving):
    client, _ = serving("sounds")
    for content_type, body in (
        ("multipart/form-data", b"hello"),
        ("multipart/form-data; boundary=x", b"hello"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nhello\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        (
            "multipart/form-data; boundary=x; charset=utf-16",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n',
        ),
    ):
        answer = client.post("/models/sounds/score", content=body, headers={"content-type": content_type})
        assert answer.status_code in (400, 422)
        refusal(answer, answer.status_code)
    answer = client.post("/models/sounds/score", files={"file": ("a.wav", b"RIFF")}, data={"other": "1"})
    assert "unknown field" in refusal(answer, 422)
    answer = client.post("/models/sounds/score", files={"file": ("a.wav", b"RIFF")}, data={"label": ["a", "b"]})
    assert "2 labels for 1 files" in refusal(answer, 422)


def test_addresses_that_do_not_exist(serving):
    client, _ = serving("vectors")
    refusal(client.get("/nothing"), 404)
    refusal(client.get("/models/vectors/score"), 405)
    assert "no model" in refusal(client.post("/models/pump/score", json=[]), 404)
    assert "no model" in refusal(client.post("/models/%00%0a%ff/score", json=[]), 404)
    assert "explain" in refusal(client.post("/models/vectors/score?explain=perhaps", json=[]), 422)
    assert "application/pdf" in refusal(
        client.post("/models/vectors/score", content=b"%PDF", headers={"content-type": "application/pdf"}), 415
    )


def test_an_error_of_the_service_says_nothing_of_it(serving, monkeypatch, caplog):
    client, _ = serving("vectors")
    monkeypatch.setattr(FittedModel, "score_and_p_value", lambda *_: 1 / 0)
    detail = refusal(client.post("/models/vectors/score", json=[[0, 0, 0, 0]]), 500)
    assert "ZeroDivision" not in detail
    assert "ZeroDivisionError" in caplog.text


MUTATIONS = st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6)


@pytest.fixture
def everything(serving):
    return serving("vectors", "sounds", "pictures", "tables", "arrays", "bytes")[0]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbage_is_refused_without_an_error_of_the_service(everything, uploads, data):
    client = everything
    name = data.draw(st.sampled_from(["vectors", "sounds", "pictures", "tables", "arrays", "bytes"]))
    kind = data.draw(st.sampled_from(["json", "npy", "file"] if name in uploads else ["json", "npy"]))
    body = {
        "json": lambda: json.dumps({"samples": [[1.5, 2, 3, 4]] * 2, "labels": [0, 1]}).encode(),
        "npy": lambda: npy(np.ones((2, 4), np.float32)),
        "file": lambda: data.draw(st.sampled_from(uploads[name])).read_bytes(),
    }[kind]()
    content = bytearray(body)
    for place, new in data.draw(MUTATIONS):
        at = place % len(content)
        content[at : at + len(new)] = new
    content = bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    query = data.draw(st.sampled_from(["", "?explain=true", "?label=0"]))
    if data.draw(st.booleans()):
        end = {"json": ".json", "npy": ".npy", "file": uploads[name][0].suffix if name in uploads else ""}[kind]
        answer = client.post(f"/models/{name}/score{query}", files={"file": (f"a{end}", content)})
    else:
        answer = client.post(f"/models/{name}/score{query}", content=content)
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        refusal(answer, answer.status_code)


def test_no_files_are_left(serving, uploads, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client, _ = serving("sounds")
    client.post("/models/sounds/score", files={"file": ("a.wav", uploads["sounds"][0].read_bytes())})
    client.post("/models/sounds/score", files={"file": ("a.wav", b"RIFF")})
    assert [*tmp_path.iterdir()] == []
