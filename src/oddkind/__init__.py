"""Anomaly detection by classification: what a network cannot place among the kinds of normal is an anomaly."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oddkind.detector import Detector, load
    from oddkind.errors import InputError
    from oddkind.fitting import fit_fleet, fit_together
    from oddkind.lab.mnist import load_mnist
    from oddkind.model.scores import SCORES, Outputs
    from oddkind.samples import Samples

__version__ = "0.1.0"
__all__ = ["SCORES", "Detector", "InputError", "Outputs", "Samples", "fit_fleet", "fit_together", "load", "load_mnist"]

_HOME = {
    "Detector": "detector",
    "InputError": "errors",
    "Outputs": "model.scores",
    "SCORES": "model.scores",
    "Samples": "samples",
    "fit_fleet": "fitting",
    "fit_together": "fitting",
    "load": "detector",
    "load_mnist": "lab.mnist",
}


def __getattr__(name: str) -> Any:
    # On first use, not on import: `oddkind --help` must not wait for torch.
    if name in _HOME:
        return getattr(import_module(f"oddkind.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
