"""A saved model as a function of batches."""

import importlib
import os
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick

from oddkind import CrossConformal, InputError, Scorer, load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "a.oddkind"
    quick().fit(*kinds()).save(file, onnx=True)
    return file


def test_a_batch_gets_what_the_model_says(saved):
    (x, y), model = kinds(40, seed=1), load(saved)
    for label, known in ((None, None), ("machine", y)):
        found = Scorer(saved, "x", label=label)({"x": x, "machine": y, "name": np.arange(40)})
        assert [*found] == ["x", "machine", "name", "score", "p_value", "anomalous"]
        assert_array_equal(found["score"], model.anomaly_score(x, known))
        assert_array_equal(found["p_value"], model.p_value(x, known))
        assert_array_equal(found["anomalous"], model.decide(x, known) == -1)


def test_numbers_may_be_columns_and_samples_objects(saved):
    x = kinds(20, seed=1)[0]
    expected = Scorer(saved)({"data": x})
    columns = Scorer(saved, ["a", "b", "c", "d"])(dict(zip("abcd", x.T, strict=True)))
    objects = Scorer(saved, "x")({"x": np.array([*x, None], object)[:-1]})
    for found in (columns, objects):
        assert_array_equal(found["score"], expected["score"])


def test_pictures_and_folds(tmp_path):
    x, y = pictures(60)
    quick(epochs=1).fit(x, y).save(tmp_path / "pictures.oddkind")
    assert_array_equal(
        Scorer(tmp_path / "pictures.oddkind")({"data": x})["score"],
        load(tmp_path / "pictures.oddkind").anomaly_score(x),
    )
    CrossConformal(quick(), folds=3).fit(*kinds(60)).save(tmp_path / "folds.oddkind")
    found = Scorer(tmp_path / "folds.oddkind")({"data": kinds(5)[0]})
    assert_array_equal(found["p_value"], load(tmp_path / "folds.oddkind").p_value(kinds(5)[0]))


def test_it_is_pickled_small_and_reads_the_file_where_it_lands(saved):
    scorer, x = Scorer(saved), kinds(10)[0]
    expected = scorer({"data": x})
    assert len(pickle.dumps(scorer)) < 1000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert_array_equal(pool.submit(scorer, {"data": x}).result()["score"], expected["score"])


def test_an_empty_batch_is_scored_and_a_wrong_one_is_refused(saved, tmp_path):
    assert [len(column) for column in Scorer(saved)({"data": np.zeros((0, 4))}).values()] == [0, 0, 0, 0]
    with pytest.raises(InputError, match="there is no column 'data'; the batch has 'x'"):
        Scorer(saved)({"x": np.zeros((1, 4))})
    with pytest.raises(InputError, match=r"samples have shape \(3,\)"):
        Scorer(saved)({"data": np.zeros((1, 3))})
    with pytest.raises(InputError, match="the samples of 'data' differ in shape"):
        Scorer(saved)({"data": [[1.0, 2.0], [1.0, 2.0, 3.0]]})
    with pytest.raises(InputError, match="columns is empty"):
        Scorer(saved, [])
    missing = Scorer(tmp_path / "gone.oddkind")  # where it is made, the file need not be
    with pytest.raises(InputError, match=r"gone\.oddkind: cannot be read"):
        missing({"data": np.zeros((1, 4))})


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ray_data_maps_it_over_batches(saved):
    ray = pytest.importorskip("ray")
    pytest.importorskip("pandas")
    x = kinds(300, seed=1)[0]
    expected = np.sort(load(saved).anomaly_score(x))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        data = importlib.import_module("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        dataset = data.from_numpy(x)
        found = dataset.map_batches(Scorer(saved), batch_size=64).to_pandas()
        assert_array_equal(np.sort(found["score"]), expected)
        actors = {"fn_constructor_args": (saved,), "compute": data.ActorPoolStrategy(size=1)}
        found = dataset.map_batches(Scorer, batch_size=64, **actors).to_pandas()
        assert_array_equal(np.sort(found["score"]), expected)
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_spark_maps_it_over_frames(saved, tmp_path, monkeypatch):
    pyspark = pytest.importorskip("pyspark")
    pandas = pytest.importorskip("pandas")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    sql = importlib.import_module(f"{pyspark.__name__}.sql")
    x, scorer = kinds(300, seed=1)[0], Scorer(saved, ["a", "b", "c", "d"])

    def score(frames):
        for frame in frames:
            yield pandas.DataFrame(scorer({name: frame[name].to_numpy() for name in frame}))

    session = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = session.config("spark.sql.warehouse.dir", str(tmp_path)).getOrCreate()
    try:
        table = session.createDataFrame(pandas.DataFrame(x, columns=[*"abcd"])).repartition(3)
        schema = "a double, b double, c double, d double, score double, p_value double, anomalous boolean"
        found = table.mapInPandas(score, schema).toPandas()
    finally:
        session.stop()
    assert_array_equal(np.sort(found["score"]), np.sort(load(saved).anomaly_score(x)))
