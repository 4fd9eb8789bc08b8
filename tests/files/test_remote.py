"""Files on object storage: listed as on a disk, fetched when they are opened, whole or not at all, tried again."""

import functools
import http.server
import os
import shutil
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from numpy.testing import assert_array_equal
from problems import LABELS, quick

import oddkind.files.remote
from oddkind import InputError, data_path, fit_files, load, source_of
from oddkind.files.reading import each
from oddkind.files.remote import RemotePath, fetched_ahead, file_in
from oddkind.files.score import read_as_learnt, score_files
from oddkind.files.source import resolved


class Unreliable(MemoryFileSystem):
    """Files in memory, of which every so-and-so-many-th fetch fails or ends too early."""

    protocol = "unreliable"
    store, pseudo_dirs, cachable = {}, [""], False
    broken, lock, fetches = 0.0, threading.Lock(), []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("unreliable://"))

    def get_file(self, rpath, lpath, **kwargs):
        with self.lock:
            self.fetches.append(rpath)
            chance = np.random.default_rng(len(self.fetches)).random()
        if chance < self.broken / 2:
            raise ConnectionResetError(104, "Connection reset by peer")
        super().get_file(rpath, lpath, **kwargs)
        if chance < self.broken:
            os.truncate(lpath, os.path.getsize(lpath) // 2)


fsspec.register_implementation("unreliable", Unreliable, clobber=True)


@pytest.fixture
def storage(monkeypatch):
    monkeypatch.setattr(Unreliable, "store", {})
    monkeypatch.setattr(Unreliable, "pseudo_dirs", [""])
    monkeypatch.setattr(Unreliable, "fetches", [])
    monkeypatch.setattr(Unreliable, "broken", 0.0)
    monkeypatch.setattr(oddkind.files.remote, "PAUSE", 0.001)
    return Unreliable()


def put(storage, folder, prefix="/bucket/new"):
    """Copy a folder into the storage; return its URL."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        storage.pipe_file(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return f"unreliable://{prefix.lstrip('/')}"


def text_files(storage, n=5, size=10):
    for number in range(n):
        storage.pipe_file(f"/b/{number:03d}.npy", bytes([number]) * size)
    return data_path("unreliable://b")


def files_in(data):
    return [file_in(data, path) for path in sorted(Path(os.fspath(data)).iterdir())]


def test_local_paths_stay_as_they_are():
    for text in ("a/b.wav", "C:/x", "s3:/x", "."):
        assert data_path(text) == Path(text)
        assert type(data_path(text)) is type(Path())


def test_a_folder_is_listed_without_fetching(storage, data):
    remote = data_path(put(storage, data))
    assert str(remote) == f"{remote}" == "unreliable://bucket/new"
    source = source_of(remote)
    files, refused = source.entries(remote)
    expected, _ = source_of(data).entries(data)
    assert [entry.name for entry in files] == [entry.name for entry in expected]
    assert files == [entry.__class__(**vars(entry) | {"path": entry.path}) for entry in files]
    assert [(e.label, e.anomalous, e.group, e.split) for e in files] == [
        (e.label, e.anomalous, e.group, e.split) for e in expected
    ]
    assert refused == {}
    assert storage.fetches == []
    assert str(files[0].path) == f"unreliable://bucket/new/{files[0].name}"


def test_a_model_and_data_on_a_storage_that_fails_decide_as_those_on_a_disk(storage, data, fitted, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    oddkind.save(fitted, tmp_path / "data" / "model.oddkind")
    remote = data_path(put(storage, tmp_path / "data"))
    Unreliable.broken = 0.3
    model = load(data_path("unreliable://bucket/new/model.oddkind"))
    verdicts = score_files(read_as_learnt(model, remote)[0], model)
    assert verdicts == score_files(read_as_learnt(fitted, data)[0], fitted)
    assert len(storage.fetches) > len({*storage.fetches})


def test_training_reads_from_a_storage(storage, data):
    remote = data_path(put(storage, data))
    models = []
    for folder in (data, remote):
        source = source_of(folder, front_end=("log-mel",))
        models.append(fit_files(source.entries(folder)[0], source, quick(epochs=2), folds=None))
    assert_array_equal(models[0].calibration.labelled.scores, models[1].calibration.labelled.scores)
    assert models[0].source["learnt"] == models[1].source["learnt"]


def test_a_manifest_names_files_beside_it(storage, data):
    put(storage, data)
    names = [path.relative_to(data).as_posix() for path in sorted((data / LABELS[0] / "test").rglob("*.wav"))]
    rows = "".join(f'"{name}",{"abnormal" in name}\n' for name in [*names, "gone.wav", "../out.wav"])
    storage.pipe_file("/bucket/new/manifest.csv", f"path,anomalous\n{rows}".encode())
    manifest = data_path("unreliable://bucket/new/manifest.csv")
    source = source_of(manifest)
    files, refused = source.entries(manifest)
    assert [entry.name for entry in files] == [*names, "gone.wav"]
    assert "outside the folder" in refused["../out.wav"]
    read = dict(each(files, resolved(source, files)))
    reasons = {entry.name: part for entry, part in read.items() if isinstance(part, str)}
    assert [*reasons] == ["gone.wav"]
    assert "cannot be fetched" in reasons["gone.wav"]


def test_what_cannot_be_fetched_is_said_and_tried_again_when_it_is_opened_again(storage):
    (path, *_) = files_in(text_files(storage))
    Unreliable.broken = 1.0
    with pytest.raises(OSError, match=r"could not be fetched in 8 attempts: (Connection reset|5 of 10 bytes)"):
        path.read_bytes()
    assert len(storage.fetches) == 8
    Unreliable.broken = 0.0
    assert path.read_bytes() == bytes(10)
    assert path.read_bytes() == bytes(10)
    assert len(storage.fetches) == 9


def test_files_are_fetched_ahead_and_once(storage, monkeypatch):
    monkeypatch.setattr(oddkind.files.remote, "FILES_AHEAD", 3)
    files = files_in(text_files(storage, n=10))
    coming = fetched_ahead(files, lambda path: path)
    first = next(coming)
    assert first.read_bytes() == bytes(10)
    for path in files[:4]:
        path.read_bytes()
    assert sorted(storage.fetches) == [f"/b/{number:03d}.npy" for number in range(4)]
    assert [*coming] == files[1:]
    assert [path.read_bytes()[0] for path in files] == [*range(10)]
    assert len(storage.fetches) == 10


def test_local_files_are_not_waited_for():
    paths = (Path(str(number)) for number in range(3))
    assert next(fetched_ahead(paths, lambda path: path)) == Path("0")
    assert next(paths) == Path("1")


def test_room_is_made_for_newer_files(storage, monkeypatch):
    monkeypatch.setattr(oddkind.files.remote, "MAX_KEPT", 25)
    data = text_files(storage, n=6)
    files = files_in(data)
    for path in files:
        assert len(path.read_bytes()) == 10
        there = [one for one in files if os.path.getsize(one.local)]
        assert len(there) <= 2
        assert path in there
    with files[0].open("rb") as opened:  # fetched again, and readable although it is replaced meanwhile
        for path in files[1:]:
            path.read_bytes()
        assert opened.read() == bytes(10)
    assert len(storage.fetches) == 12


def test_many_threads_open_one_file_and_it_is_fetched_once(storage):
    (path, *_) = files_in(text_files(storage, n=1, size=100_000))
    found = []
    threads = [threading.Thread(target=lambda: found.append(path.read_bytes())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bytes(100_000)] * 20
    assert len(storage.fetches) == 1


def test_derived_paths_are_local_and_names_do_not_leave_the_mirror(storage):
    data = text_files(storage)
    assert isinstance(data, RemotePath)
    assert (data / "000.npy").mirror is None
    assert data.mirror.expect("../../etc/x") == Path(data.mirror.folder, "../../etc/x")
    assert not Path(data.mirror.folder, "../../etc/x").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("unreliable://nothing/here", "cannot be reached, does not exist, or has no files"),
        ("s4://bucket", "Protocol not known: s4; pip install"),
    ],
)
def test_urls_that_lead_nowhere_are_refused(storage, url, message):
    with pytest.raises(InputError, match=message):
        data_path(url)


def test_files_come_from_a_web_server(data, fitted):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = data / LABELS[0] / "test" / "normal"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        remote = data_path(f"http://127.0.0.1:{server.server_port}/")
        (of_web, of_disk) = (score_files(read_as_learnt(fitted, where)[0], fitted) for where in (remote, folder))
        server.shutdown()
    assert of_web == of_disk


@pytest.mark.parametrize("given", [{"anon": True}, {"key": "a", "secret": "b", "token": "c"}, {}])
def test_s3_is_asked_with_the_credentials_of_fsspec(given, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "d"),
        ("AWS_SECRET_ACCESS_KEY", "e"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(**given, skip_instance_cache=True)
    assert system.s3 is not None
    credentials = oddkind.files.remote._credentials(system)
    if "anon" in given:
        assert credentials is None
        return
    found = credentials()
    assert found["expires_at"] > datetime.now(UTC)
    assert [found[name] for name in ("access_key_id", "secret_access_key", "token")] == (
        ["a", "b", "c"] if given else ["d", "e", None]
    )


@pytest.mark.slow
@pytest.mark.parametrize("client", ["obstore", "s3fs"])
def test_files_come_from_s3(data, fitted, monkeypatch, client):
    fetched = []
    if client == "obstore":
        obstore = pytest.importorskip("obstore")
        get = obstore.get
        monkeypatch.setattr(obstore, "get", lambda store, name: fetched.append(name) or get(store, name))
    else:
        monkeypatch.setitem(sys.modules, "obstore", None)
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    service = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    try:
        host, port = service.get_host_and_port()
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
        fsspec.config.set_conf_env(fsspec.config.conf)
        service_of = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        service_of.create_bucket(Bucket="bucket")
        for file in data.rglob("*.wav"):
            service_of.upload_file(str(file), "bucket", f"new/{file.relative_to(data).as_posix()}")
        remote = data_path("s3://bucket/new")
        files, _ = read_as_learnt(fitted, remote)
        assert score_files(files, fitted) == score_files(read_as_learnt(fitted, data)[0], fitted)
        assert len(fetched) == (len(files) if client == "obstore" else 0)
        assert np.unique([entry.label for entry in files]).tolist() == sorted(LABELS)
        with pytest.raises(InputError, match="s3://missing/x"):
            data_path("s3://missing/x")
    finally:
        fsspec.config.conf.pop("s3", None)
        service.stop()
