"""The Muon optimizer: the step of every weight matrix has all its directions equally long."""

from collections.abc import Iterable

import torch
from torch import nn

_MOMENTUM = 0.95
_BETAS, _EPS = (0.9, 0.99), 1e-6  # Adam's, for vectors
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's polynomial: five turns bring singular values near 1
_STEP = 0.2  # root mean square of a step at learning rate 1, about that of AdamW


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for tensors of two or more dimensions, Adam for all others.

    A kernel counts as a matrix of (outputs, everything else). Steps are as long as those of AdamW (Liu et al., 2025,
    arXiv 2502.16982), so that both take the same learning rates; decay acts on matrices only. torch's own Muon takes
    no kernels, and computes in bfloat16, which processors without it only emulate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim < 2:
                    parameter.sub_(self._adam(parameter), alpha=group["lr"])
                else:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(self._orthogonal(parameter), alpha=group["lr"])

    def _orthogonal(self, parameter: nn.Parameter) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
        ahead = parameter.grad.lerp(momentum, _MOMENTUM).flatten(1)
        return orthogonalised(ahead).mul_(_STEP * max(ahead.shape) ** 0.5).view_as(parameter)

    def _adam(self, parameter: nn.Parameter) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        mean = state["mean"].lerp_(parameter.grad, 1 - _BETAS[0])
        square = state["square"].lerp_(parameter.grad**2, 1 - _BETAS[1])
        mean, square = (value / (1 - beta ** state["step"]) for value, beta in zip((mean, square), _BETAS))
        return mean / (square.sqrt() + _EPS)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix (a, b) with its singular values brought to about 1 (0.7 to 1.2), by five Newton-Schulz turns."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    linear, cubic, quintic = _COEFFICIENTS
    for _ in range(5):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.T.contiguous() if matrix.shape[0] > matrix.shape[1] else wide
