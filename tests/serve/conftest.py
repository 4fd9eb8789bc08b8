"""Saved models of each kind, and a client of a service that serves them, in this process."""

import warnings

import numpy as np
import pytest
from PIL import Image
from problems import kinds, pictures, quick
from starlette.testclient import TestClient

from oddkind import CrossConformal, PromiseWarning, fit_files, save, source_of
from oddkind.serve.app import application
from oddkind.serve.limits import Limits
from oddkind.serve.service import Service


def fitted_to_files(folder, **settings):
    source = source_of(folder, **settings)
    return fit_files(source.entries(folder)[0], source, quick(epochs=4))


def write_log(file, seed, *, odd=False, rows=128):
    draw = np.random.default_rng(seed)
    time = np.arange(rows)
    flow = np.sin(time / 5) + 0.1 * draw.normal(size=rows) + odd * (time % 7)
    lines = ["flow;pressure", *(f"{a:.4f};{b:.4f}" for a, b in zip(flow, draw.normal(size=rows), strict=True))]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def uploads(tmp_path_factory, data):
    """New files of each kind, by the name of the model that takes them."""
    folder = tmp_path_factory.mktemp("uploads")
    shown, _ = pictures(60, seed=3)
    for number, picture in enumerate(shown):
        for name in ("normal", "new") if number < 4 else ("normal",):
            (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[0]).save(folder / f"pictures/{name}/{number}.png")
    Image.fromarray(shown[0, 0]).convert("RGB").save(folder / "pictures/new/coloured.jpg")
    vectors, _ = kinds(60)
    for number, vector in enumerate(vectors):
        for name in ("normal", "new") if number < 4 else ("normal",):
            (folder / "arrays" / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / f"arrays/{name}/{number}.npy", vector.astype(np.float32))
    for number in range(40):
        write_log(folder / f"tables/normal/{number}.csv", number)
    for number in range(4):
        write_log(folder / f"tables/new/{number}.csv", 100 + number, odd=number % 2 == 1)
    return {
        "sounds": sorted(data.glob("*/test/*/*.wav")),
        **{name: sorted((folder / name / "new").iterdir()) for name in ("pictures", "arrays", "tables")},
    }


@pytest.fixture(scope="session")
def models(tmp_path_factory, uploads, fitted):
    """Files of models: of arrays (with labels, of bytes, in folds) and of files of each kind."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "vectors": quick(epochs=10).fit(*kinds(200)).model_,
        "bytes": quick(epochs=4).fit(*pictures(120)).model_,
        "folds": CrossConformal(quick(epochs=10), folds=3).fit(*kinds(120)).model_,
        "sounds": fitted,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("pictures", "arrays", "tables"):
            made[name] = fitted_to_files(uploads[name][0].parents[1] / "normal")
    for name, model in made.items():
        save(model, folder / f"{name}.oddkind")
    return {name: folder / f"{name}.oddkind" for name in made}


@pytest.fixture
def serving(models):
    """Start a service in this process: a function that returns the client and the service."""
    open_clients = []

    def start(*names, token=None, files=None, **limits):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromiseWarning)
            service = Service(files or [models[name] for name in names], Limits(**limits))
        client = TestClient(
            application(service, lambda: token), base_url="http://127.0.0.1", raise_server_exceptions=False
        )
        open_clients.append(client.__enter__())
        return client, service

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)
