"""The exceptions and warnings of oddkind."""


class InputError(ValueError):
    """Data or a parameter cannot be used. The message says what is wrong, where, and what would be right."""


class ConcernWarning(UserWarning):
    """The data, the labels or what was learnt from them make results doubtful. The message says what was seen."""


class PromiseWarning(UserWarning):
    """There are too few held-out samples for the false-alarm rate. The message says how many it takes."""


EXTRAS = {
    **dict.fromkeys(
        ("torch", "scipy", "sklearn", "onnx", "onnxscript", "joblib", "cloudpickle", "threadpoolctl"), "train"
    ),
    "ray": "ray",
    "distributed": "dask",
    "matplotlib": "figures",
    "openTSNE": "map",
    **dict.fromkeys(("fastapi", "uvicorn", "python_multipart", "prometheus_client", "starlette"), "serve"),
}
"""Which extra of this package installs a package that scoring does without."""
