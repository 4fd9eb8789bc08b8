"""A grid of settings and seeds on MNIST: the effect of each setting, and the choice that held-out data would make."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from oddkind.errors import InputError
from oddkind.lab.figures import auc_heat_map, auc_lines
from oddkind.lab.mnist import load_mnist
from oddkind.model.scores import SCORES, components_of, refuse_without_signals
from oddkind.output import results_folder
from oddkind.study.evaluation import Configuration, Result, evaluate_settings, train_settings

Smoothing = Annotated[float, Field(ge=0, lt=1)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["fit"]


class Grid(BaseModel):
    """A grid to try: every combination of label smoothing, temperature and score, each with every seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["labels", "rotations", "labels+rotations"] = "labels"
    label_smoothing: Annotated[tuple[Smoothing, ...], Field(min_length=1)] = (0.0, 0.1, 0.2, 0.3)
    temperature: Annotated[tuple[Temperature, ...], Field(min_length=1)] = (1.0, "fit")
    score: Annotated[tuple[str, ...], Field(min_length=1)] = ("msp", "max-logit", "cosine-neighbours")
    seeds: Annotated[int, Field(ge=1)] = 8
    normal: tuple[int, ...] = (0, 1, 2, 3)
    anomalous: tuple[int, ...] = (7, 8, 9)
    flagged: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=1)] = 5

    @field_validator("label_smoothing", "temperature", "score")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value!r} is given twice")
        return values

    @field_validator("score")
    @classmethod
    def _known(cls, score: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in score:
            if name not in SCORES:
                raise ValueError(f"unknown score {name!r}; known are {', '.join(SCORES)}")
            needs = any(component.needs_rotations for component in components_of(SCORES[name]))
            if info.data.get("task") == "labels" and (needs or name == "target-nll"):
                raise ValueError(f"score {name!r} needs a task with rotations")
            refuse_without_signals(name, (1, 28, 28))
        return score

    @property
    def settings(self) -> list[Configuration]:
        """Every combination, in the given order; the others are compared with the first."""
        return [
            Configuration(f"smoothing {s:g}, T {t if t == 'fit' else f'{t:g}'}, {score}", self.task, s, t, score)
            for s, t, score in product(self.label_smoothing, self.temperature, self.score)
        ]


def read_grid(file: Path | None, changes: dict[str, Any]) -> Grid:
    """Read a grid from a TOML file with the fields of `Grid`, or start from the defaults, and apply changes.

    Raises
    ------
    InputError
        If the file cannot be read or a field is wrong. The message names the file, the field and the correct values.
    """
    where = "" if file is None else f"{file}: "
    try:
        fields = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        return Grid(**(fields | changes))
    except OSError as error:
        raise InputError(f"{where}cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where}not a TOML file: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}{field}: {first['msg']}; got {first['input']!r}") from error


def run_sweep(
    folder: Path, grid: Grid, *, on_progress: Callable[[str, float], None] = lambda stage, done: None
) -> Result:
    """Train and score the whole grid; write results.json, heat-map.png and lines.png into `folder`.

    A sweep that was killed resumes when it is run again.

    Raises
    ------
    InputError
        If the digits cannot be used or the folder cannot be written.
    """
    settings = grid.settings
    with results_folder(folder) as (unfinished, checkpoints):
        train, test = load_mnist(grid.normal, grid.anomalous, flagged=grid.flagged)
        trained = train_settings(
            settings,
            train,
            seeds=range(grid.seeds),
            epochs=grid.epochs,
            checkpoints=checkpoints,
            on_progress=lambda done: on_progress("training", done),
        )
        result = evaluate_settings(
            settings, trained, train, test, on_progress=lambda done: on_progress("scoring", done)
        )
        for name, draw in (("heat-map", auc_heat_map), ("lines", auc_lines)):
            draw(result).savefig(unfinished / f"{name}.png", dpi=120)
        facts = {"grid": grid.model_dump(), **result.to_json()}
        (unfinished / "results.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return result
