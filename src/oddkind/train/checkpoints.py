"""Checkpoints of a training run, named by a digest of all that determines the run, and written whole or not at all."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from oddkind.output import written_whole
from oddkind.train.job import Job


def fingerprint(jobs: Sequence[Job], *settings: object) -> str:
    """Digest of all that determines a run: the same run has the same digest, and no other run has it."""
    digest = hashlib.sha256(repr(settings).encode())
    for job in {job.source: job for job in jobs}.values():
        digest.update(job.inputs.contiguous().numpy().data)
    for job in jobs:
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # the matrices of a transform in full
            settings = job.transform, job.seed, job.label_smoothing, job.learning_rate, job.weight_decay, job.shift
            digest.update(repr((job.network, *settings, job.mixup, job.warp)).encode())
        for tensor in (*job.network.parameters(), *job.network.buffers()):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        digest.update(np.ascontiguousarray(job.targets[job.rows]).data)
        digest.update(np.ascontiguousarray(job.rows).data)
    return digest.hexdigest()[:32]


def save(file: Path, state: dict[str, Tensor], steps: int) -> None:
    """Write a checkpoint, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as unfinished:
        save_file(state | {"rng": torch.get_rng_state()}, unfinished, metadata={"steps": str(steps)})


def restore(file: Path, state: dict[str, Tensor]) -> int:
    """Fill the state from a checkpoint and return the number of steps done; 0 if there is none that can be read."""
    if not file.exists():
        return 0
    try:
        with safe_open(file, "pt") as saved:
            for name, tensor in state.items():
                tensor.copy_(saved.get_tensor(name))
            torch.set_rng_state(saved.get_tensor("rng"))
            return int(saved.metadata()["steps"])
    except SafetensorError:  # truncated, for example by a full disk; the header is checked before anything is copied
        return 0
