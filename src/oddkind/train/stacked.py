"""Many networks of one form, computed as a single function with a model axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from oddkind.train.networks import MLP, LectureCNN

Parameters = dict[str, Tensor]

DROPOUT = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout


class Stack:
    """M networks of the same form, computed and differentiated together.

    Parameters
    ----------
    networks : sequence of M modules
        Their weights are copied in; `unstack` copies them back.
    device : torch device

    Attributes
    ----------
    native : bool
        Whether this module has a stacked version of the network; any other network runs through torch.func.vmap.
    weights : tensor [M, P]
        All trainable parameters, one row per model. `parameters` are differentiable views into it, [M, ...] each.
    """

    def __init__(self, networks: Sequence[nn.Module], device: torch.device) -> None:
        self.networks = [network.to(device).train() for network in networks]
        rows = [torch.cat([p.detach().flatten() for p in learnt(network).values()]) for network in networks]
        self.weights = torch.stack(rows)
        self.parameters: Parameters = {}
        start = 0
        for name, parameter in learnt(networks[0]).items():
            columns = self.weights[:, start : start + parameter.numel()]
            self.parameters[name] = columns.view(len(networks), *parameter.shape).detach().requires_grad_()
            start += parameter.numel()
        trainable = all(p.requires_grad for p in networks[0].parameters())
        self._native = _NATIVE.get(type(networks[0])) if trainable else None
        self.native = self._native is not None
        self._in_turn = len(networks) == 1 or _faster_in_turn(networks[0], device)
        self._batch: Tensor | None = None

    def arrange(self, x: Tensor) -> Tensor:
        """Rearrange inputs [n, ...] into the order in which `logits` reads them, once, before training."""
        return x if self._native is None else self._native[0](x)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run every model on its own batch: arranged inputs [M, B, ...], uint8 or float32 → logits [M, C, B].

        From networks that say which places of a picture were changed come their logits of that, too, [M, B, H', W'].
        The gradient of a batch can be computed until the next call.
        """
        if self._native is not None:
            x = self._native[1](x)
        # The memory is reused for every batch: allocating new pages would cost more than the arithmetic.
        if self._batch is None or self._batch.shape != x.shape:
            self._batch = torch.empty(x.shape, device=x.device)
        x = as_float(x, out=self._batch)
        if self._native is not None:
            return self._native[2](self.parameters, x), None
        template = self.networks[0]

        def run(parameters: Parameters, batch: Tensor) -> tuple[Tensor, ...]:
            logits, _, *places = functional_call(template, parameters, (batch,))
            return logits.T, *places

        if self._in_turn:
            runs = [run({name: p[m] for name, p in self.parameters.items()}, batch) for m, batch in enumerate(x)]
            outputs = tuple(map(torch.stack, zip(*runs, strict=True)))
        else:
            outputs = vmap(run, randomness="different")(self.parameters, x)
        return outputs[0], outputs[1] if len(outputs) > 1 else None

    def unstack(self) -> None:
        """Copy the weights back into the networks, ready to predict.

        Each has memory of its own: a pickle of a view has all of the memory that it views, that of all M networks.
        """
        for network, row in zip(self.networks, self.weights, strict=True):
            nn.utils.vector_to_parameters(row, learnt(network).values())
            for parameter in learnt(network).values():
                parameter.data = parameter.data.clone()
            network.eval()


def learnt(network: nn.Module) -> Parameters:
    """Return the parameters that training may change, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def as_float(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Convert inputs to what a network reads, in `out` if given: uint8 becomes 0 … 1, floats stay as they are."""
    out = torch.empty(x.shape, device=x.device) if out is None else out
    out.copy_(x)
    return out.mul_(1 / 255) if x.dtype == torch.uint8 else out


def _faster_in_turn(network: nn.Module, device: torch.device) -> bool:
    """Return whether M such networks run faster one after another.

    vmap turns M convolutions into a grouped one, which is 6 times as slow on a CPU.
    """
    return device.type == "cpu" and any(isinstance(module, nn.Conv2d) for module in network.modules())


def why_alone(network: nn.Module, input_shape: tuple[int, ...], device: torch.device) -> str | None:
    """Explain why M > 1 such networks cannot be trained in one stack; None if they can."""
    if not all(parameter.requires_grad for parameter in network.parameters()):
        return "some of their parameters are frozen"
    if type(network) in _NATIVE:
        return None
    if any(True for _ in network.buffers()):
        return "they keep a state in addition to their weights, such as running means"
    if any(isinstance(module, DROPOUT) for module in network.modules()):
        return "their dropout would draw other random numbers than when each is trained alone"
    if _faster_in_turn(network, device):
        return None
    parameters = {name: torch.stack([p.detach().to(device)] * 2) for name, p in network.named_parameters()}
    blank = torch.zeros(2, 2, *input_shape, device=device)
    network.train()
    try:
        vmap(lambda p, x: functional_call(network, p, (x,)), randomness="error")(parameters, blank)
    except (RuntimeError, ValueError) as error:
        return f"torch.func.vmap cannot run them ({str(error).splitlines()[0]})"
    return None


def _arrange_patches(x: Tensor) -> Tensor:
    """Order pixels so that each 2×2 convolution of `LectureCNN` is one matrix product; [n, C, H, W] → [n, P].

    The slowest axes are those that the first layer sums over (the channel and the place in its 2×2 patch), followed by
    the place in the second layer's patch, the place in the third layer's patch, and the position. In this order, the
    output of each layer is in memory exactly the matrix of patches that the next layer reads.
    """
    channels, height, width = x.shape[1:]
    h, w = height // 8, width // 8
    places = torch.arange(channels * height * width).view(channels, height, width)[:, : 8 * h, : 8 * w]
    # [C, h, y3, y2, y1, w, x3, x2, x1] → [C, y1, x1, y2, x2, y3, x3, h, w]
    order = places.reshape(channels, h, 2, 2, 2, w, 2, 2, 2).permute(0, 4, 8, 3, 7, 2, 6, 1, 5).flatten()
    if x.device.type == "cpu":  # NumPy selects columns five times as fast there
        return torch.from_numpy(np.take(x.flatten(1).numpy(), order.numpy(), axis=1))
    return x.flatten(1)[:, order.to(x.device)]


def _lecture_logits(parameters: Parameters, h: Tensor) -> Tensor:
    """`LectureCNN` for every model, [M, P, B] → [M, C, B]; the products are fastest with the long axis last."""
    models, _, batch = h.shape
    w = iter(parameters.values())
    for _ in range(3):  # [M, out, in · 4] @ [M, in · 4, places · B]
        weight, bias = next(w).flatten(2), next(w)
        h = torch.baddbmm(bias[..., None], weight, h.view(models, weight.shape[2], -1)).relu_()
    weight, bias = next(w), next(w)
    return torch.baddbmm(bias[..., None], weight, h.view(models, -1, batch))


def _mlp_logits(parameters: Parameters, h: Tensor) -> Tensor:
    """`MLP` for every model, [M, D, B] → [M, C, B]."""
    w = iter(parameters.values())
    for _ in range(2):
        weight, bias = next(w), next(w)
        h = torch.baddbmm(bias[..., None], weight, h).relu_()
    weight, bias = next(w), next(w)
    return torch.baddbmm(bias[..., None], weight, h)


def _batch_last(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


# For each network: how inputs [n, ...] are rearranged once, how a batch [M, B, ...] is laid out, and its logits.
_NATIVE: dict[
    type[nn.Module],
    tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Parameters, Tensor], Tensor]],
] = {
    LectureCNN: (_arrange_patches, _batch_last, _lecture_logits),
    MLP: (lambda x: x, _batch_last, _mlp_logits),
}
