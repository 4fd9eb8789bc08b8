"""Anomaly detection by classification: what a network cannot place among the kinds of normal is an anomaly."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oddkind.checks import Issue as Issue
    from oddkind.checks import check_data as check_data
    from oddkind.cross_conformal import CrossConformal as CrossConformal
    from oddkind.detector import Detector as Detector
    from oddkind.errors import ConcernWarning as ConcernWarning
    from oddkind.errors import InputError as InputError
    from oddkind.errors import PromiseWarning as PromiseWarning
    from oddkind.file_fitting import fit_files as fit_files
    from oddkind.files.check import check_files as check_files
    from oddkind.files.evaluate import evaluate_files as evaluate_files
    from oddkind.files.explain import FileExplanation as FileExplanation
    from oddkind.files.explain import explain_files as explain_files
    from oddkind.files.listing import Entry as Entry
    from oddkind.files.remote import data_path as data_path
    from oddkind.files.score import Verdict as Verdict
    from oddkind.files.score import score_files as score_files
    from oddkind.files.source import Source as Source
    from oddkind.files.source import source_of as source_of
    from oddkind.fitting import fit_fleet as fit_fleet
    from oddkind.fitting import fit_together as fit_together
    from oddkind.fleet.file import Fleet as Fleet
    from oddkind.fleet.fitting import write_fleet as write_fleet
    from oddkind.fleet.scoring import evaluate_fleet as evaluate_fleet
    from oddkind.fleet.scoring import score_fleet as score_fleet
    from oddkind.lab.mnist import load_mnist as load_mnist
    from oddkind.loading import load as load
    from oddkind.model.conformal import discoveries as discoveries
    from oddkind.model.conformal import false_alarm_test as false_alarm_test
    from oddkind.model.explain import Explanation as Explanation
    from oddkind.model.explain import explain as explain
    from oddkind.model.model import CrossModel as CrossModel
    from oddkind.model.model import Model as Model
    from oddkind.model.neighbour_scores import neighbours as neighbours
    from oddkind.model.outputs import Outputs as Outputs
    from oddkind.model.saving import save as save
    from oddkind.model.score import Score as Score
    from oddkind.model.scores import SCORES as SCORES
    from oddkind.samples import Samples as Samples
    from oddkind.scorer import Scorer as Scorer
    from oddkind.study.deletion_test import deletion_test as deletion_test
    from oddkind.study.evaluation import Configuration as Configuration
    from oddkind.study.evaluation import evaluate_settings as evaluate_settings
    from oddkind.study.evaluation import train_settings as train_settings
    from oddkind.study.reliability import classwise_error as classwise_error
    from oddkind.study.reliability import reliability as reliability
    from oddkind.study.selection import leave_one_label_out as leave_one_label_out
    from oddkind.train.export import as_module as as_module

_HOME = {
    "Configuration": "study.evaluation",
    "ConcernWarning": "errors",
    "CrossConformal": "cross_conformal",
    "CrossModel": "model.model",
    "Detector": "detector",
    "Entry": "files.listing",
    "Explanation": "model.explain",
    "FileExplanation": "files.explain",
    "Fleet": "fleet.file",
    "InputError": "errors",
    "Issue": "checks",
    "Model": "model.model",
    "Outputs": "model.outputs",
    "PromiseWarning": "errors",
    "SCORES": "model.scores",
    "Samples": "samples",
    "Score": "model.score",
    "Scorer": "scorer",
    "Source": "files.source",
    "Verdict": "files.score",
    "as_module": "train.export",
    "check_data": "checks",
    "check_files": "files.check",
    "classwise_error": "study.reliability",
    "data_path": "files.remote",
    "deletion_test": "study.deletion_test",
    "discoveries": "model.conformal",
    "evaluate_files": "files.evaluate",
    "evaluate_fleet": "fleet.scoring",
    "evaluate_settings": "study.evaluation",
    "explain": "model.explain",
    "explain_files": "files.explain",
    "false_alarm_test": "model.conformal",
    "fit_files": "file_fitting",
    "fit_fleet": "fitting",
    "fit_together": "fitting",
    "leave_one_label_out": "study.selection",
    "load": "loading",
    "load_mnist": "lab.mnist",
    "neighbours": "model.neighbour_scores",
    "reliability": "study.reliability",
    "save": "model.saving",
    "score_files": "files.score",
    "score_fleet": "fleet.scoring",
    "source_of": "files.source",
    "train_settings": "study.evaluation",
    "write_fleet": "fleet.fitting",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    # On first use, not on import: `oddkind --help` must not wait for torch.
    if name == "__version__":
        from importlib.metadata import version

        return version("oddkind")
    if name in _HOME:
        try:
            return getattr(import_module(f"oddkind.{_HOME[name]}"), name)
        except ModuleNotFoundError as error:
            from oddkind.errors import EXTRAS

            if error.name in EXTRAS:
                extra = f"oddkind[{EXTRAS[error.name]}]"
                raise ImportError(
                    f"oddkind.{name} needs {error.name}; pip install '{extra}'", name=error.name
                ) from error
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
