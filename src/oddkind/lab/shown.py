"""The trained networks that the page of the lab shows."""

from __future__ import annotations

from dataclasses import dataclass

from oddkind.model.outputs import Outputs

# Label smoothing → the exercise with it.
SMOOTHED = {0.0: "initial", 0.1: "label-smoothing-0.1", 0.2: "label-smoothing-0.2", 0.3: "label-smoothing-0.3"}
ROTNETS = "rotnet", "rotnet-shifted"
SHOWN = (*SMOOTHED.values(), *ROTNETS)


@dataclass(frozen=True, eq=False)
class ShownNetwork:
    """The outputs of a trained network of the first seed.

    Attributes
    ----------
    test : Outputs
        Outputs for the test data.
    held_out : Outputs
        Outputs for the held-out normal samples, with targets.
    temperature : float
        Fitted on `held_out`.
    """

    test: Outputs
    held_out: Outputs
    temperature: float
