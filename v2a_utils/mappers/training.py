"""One training loop for everything that is trained here: the mini stack's parts and the mappers."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import nn
from tqdm.auto import tqdm

from v2a_utils.models.weights import save_checkpoint


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Decay acts on tensors of two or more dimensions only."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100  # steps
    grad_norm: float = 1.0
    ema: float = 0.99  # decay of the averaged weights; short, since the learning rate falls to nearly nothing
    seed: int = 0


WATCHES = 20  # looks at a run while it goes on


def fit(
    model: nn.Module,
    loss_of: Callable[[nn.Module, np.ndarray, torch.Generator], torch.Tensor],
    num_examples: int,
    config: TrainConfig,
    checkpoint: Path | None = None,
    title: str = "train",
    device: str = "cpu",
    watch: Callable[[nn.Module, list[float]], None] | None = None,
) -> list[float]:
    """Train `model` in place and leave its averaged (EMA) weights in it; returns the loss of every step.

    `loss_of(model, rows, generator)` gives the loss of the examples `rows` (row numbers below `num_examples`).
    Batches and noise are functions of (seed, step), so a run that was killed and started again from `checkpoint`
    follows the same loss curve. `watch(averaged model, losses)` is called about WATCHES times, and at the end.
    Under `accelerate launch` or `torchrun` every process takes its share of each batch. FloatingPointError when the
    loss is not finite.
    """
    accelerator = Accelerator(cpu=torch.device(device).type == "cpu")
    device = accelerator.device
    model.to(device).train()
    objective = accelerator.prepare(_Objective(model, loss_of))
    optimizer = _optimizer(model, config)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, config))
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    ).eval()
    losses: list[float] = []
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "average": average}
    if checkpoint is not None and checkpoint.is_file():
        losses = _resume(checkpoint, parts, config, device)
    accelerator.wait_for_everyone()  # nobody writes what another still reads
    if not accelerator.is_main_process:
        checkpoint = watch = None
    saved = time.monotonic()
    bar = tqdm(range(len(losses), config.steps), initial=len(losses), total=config.steps, desc=title, mininterval=5,
               disable=not accelerator.is_main_process)
    for step in bar:
        losses.append(_step(objective, num_examples, config, step, optimizer, accelerator))
        scheduler.step()
        if step < config.steps // 10:  # the first steps are too poor to average over
            average.module.load_state_dict(model.state_dict())
        else:
            average.update_parameters(model)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        due = (step + 1) % max(config.steps // WATCHES, 1) == 0 or step + 1 == config.steps
        if watch is not None and due:
            watch(average.module, losses)
        if checkpoint is not None and time.monotonic() - saved > 60:
            _save(checkpoint, parts, losses, config)
            saved = time.monotonic()
    if checkpoint is not None:
        _save(checkpoint, parts, losses, config)
    model.load_state_dict(average.module.state_dict())
    model.eval()
    return losses


def is_main_process() -> bool:
    """Whether this process is the only one, or the one of several that writes files."""
    return PartialState().is_main_process


class _Objective(nn.Module):
    """The loss as a module's forward, which is where processes that train together meet."""

    def __init__(self, model: nn.Module, loss_of: Callable):
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, rows: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        return self.loss_of(self.model, rows, generator)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": [parameter for parameter in learning if parameter.ndim >= 2],
               "weight_decay": config.weight_decay},
              {"params": [parameter for parameter in learning if parameter.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6, fused=True)


def _step(objective, num_examples, config, step, optimizer, accelerator) -> float:
    rank, number = accelerator.process_index, accelerator.num_processes
    rows = np.random.default_rng([config.seed, step]).integers(num_examples, size=config.batch_size)[rank::number]
    seed = config.seed * 1_000_003 + step + (rank << 40)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: one noise on any device
    torch.manual_seed(seed)  # dropout inside library modules has no generator of its own
    with half_precision(accelerator.device):
        loss = objective(rows, generator)
    mean = accelerator.reduce(loss.detach(), "mean").item()
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss is {mean} at step {step}: lower the learning rate or check the data")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(objective.parameters(), config.grad_norm)
    optimizer.step()
    return mean


def half_precision(device: str | torch.device) -> torch.autocast:
    """bfloat16 autocast where the hardware computes in it, else none (emulation would be slower than float32)."""
    kind = torch.device(device).type
    if kind == "cuda":  # a T4 and older cards would only emulate it
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        quick = kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=quick)


def _schedule(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to 2%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _save(path: Path, parts: dict, losses: list[float], config: TrainConfig) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, state | {"losses": losses, "config": asdict(config)})


def _resume(path: Path, parts: dict, config: TrainConfig, device: torch.device) -> list[float]:
    state = torch.load(path, map_location=device, weights_only=True)
    if state["config"] != asdict(config):
        raise ValueError(f"{path}: this checkpoint was made with other settings; delete it or use another folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["losses"]
