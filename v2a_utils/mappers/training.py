"""One training loop for everything that is trained here: the mini stack's parts and the mappers."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
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
    ema: float = 0.99  # decay of the averaged weights; a short average, since the learning rate falls to nearly 0
    seed: int = 0
    patience: int = 0  # validations in a row without a new best after which a run ends; 0: it takes all its steps
    muon: bool = False  # Muon for kernels and matrices, AdamW for the rest: learns more from each example


CALLBACKS = 20  # in a run


class Validation:
    """A callback for `fit` that evaluates the averaged model, keeps its best weights, and says when to stop.

    `evaluate(model)` gives measures by name; the one called `score` is minimised. `history` holds them with the step
    and the training loss. Its state is part of the run's checkpoint.
    """

    def __init__(self, evaluate: Callable[[nn.Module], dict[str, float]], score: str, patience: int = 0):
        self.evaluate, self.score, self.patience = evaluate, score, patience
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] | None = None  # weights
        self.best_step = 0

    def __call__(self, averaged: nn.Module, losses: list[float]) -> bool:
        """Evaluate; True when `patience` validations in a row brought nothing better."""
        self.history.append({"step": len(losses), "loss": float(np.mean(losses[-100:]))} | self.evaluate(averaged))
        tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in self.history[-1].items()))
        scores = [numbers[self.score] for numbers in self.history]
        since_best = len(scores) - 1 - scores.index(min(scores))
        if not since_best:
            self.best = {name: value.detach().clone() for name, value in averaged.state_dict().items()}
            self.best_step = len(losses)
        return 0 < self.patience <= since_best

    def state_dict(self) -> dict:
        """For the checkpoint."""
        return {"history": self.history, "best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: dict) -> None:
        """From the checkpoint."""
        self.history, self.best, self.best_step = state["history"], state["best"], state["best_step"]


def fit(
    model: nn.Module,
    loss_of: Callable[[nn.Module, np.ndarray, torch.Generator], torch.Tensor],
    num_examples: int,
    config: TrainConfig,
    checkpoint: Path | None = None,
    title: str = "train",
    device: str = "cpu",
    callback: Callable[[nn.Module, list[float]], bool | None] | None = None,
    origin: dict[str, str] | None = None,
) -> list[float]:
    """Train `model` in place and leave its averaged (EMA) weights in it; returns the loss of every step.

    `loss_of(model, rows, generator)` gives the loss of the examples `rows` (row numbers below `num_examples`).
    Batches and noise are functions of (seed, step), so a run that was killed and started again from `checkpoint`
    follows the same loss curve. `callback(averaged model, losses)` is called about CALLBACKS times, and at the end; the
    run ends early when it returns True. If it is a `Validation`, the model gets its best weights instead. `origin`, say
    {"data": its hash}, is stored in the checkpoint: one of another origin or another model is refused (ValueError).

    Under `accelerate launch` or `torchrun` every process takes its share of each batch. FloatingPointError when the
    loss is not finite.
    """
    accelerator = _accelerator(device)
    model.to(accelerator.device).train()
    objective = accelerator.prepare(_Objective(model, loss_of))
    run = _Run(model, config, origin or {}, callback)
    if checkpoint is not None and checkpoint.is_file():
        run.load(checkpoint, accelerator.device)
    accelerator.wait_for_everyone()  # no process writes what another still reads
    if not accelerator.is_main_process:
        checkpoint = None
    _take_steps(run, objective, num_examples, callback, checkpoint, title, accelerator)
    model.load_state_dict(getattr(callback, "best", None) or run.average.module.state_dict())
    model.eval()
    return run.losses


def _take_steps(run: "_Run", objective: nn.Module, num_examples: int, callback: Callable | None,
                checkpoint: Path | None, title: str, accelerator: Accelerator) -> None:
    """Take the remaining steps of a run, with callbacks and checkpoints on the way."""
    config, saved = run.config, time.monotonic()
    bar = tqdm(range(len(run.losses), config.steps), initial=len(run.losses), total=config.steps, desc=title,
               mininterval=5, disable=not accelerator.is_main_process)
    for step in bar:
        if run.stopped:
            break
        run.losses.append(_step(objective, num_examples, config, step, run.optimizer, accelerator))
        run.after_step(step)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(run.losses[-50:]):.4f}", refresh=False)
        if callback is not None and run.is_due(step):
            stop = accelerator.is_main_process and bool(callback(run.average.module, run.losses))
            run.stopped = accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)).item() > 0
        if checkpoint is not None and time.monotonic() - saved > 60:
            run.save(checkpoint)
            saved = time.monotonic()
    if checkpoint is not None:
        run.save(checkpoint)


class _Run:
    """The state of a training between two steps, and its checkpoint."""

    def __init__(self, model: nn.Module, config: TrainConfig, origin: dict[str, str], callback: Callable | None):
        self.config, self.origin, self.losses, self.stopped = config, origin, [], False
        self.optimizer = _optimizer(model, config)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _schedule(step, config))
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
        ).eval()
        self.parts = {"model": model, "optimizer": self.optimizer, "scheduler": self.scheduler,
                      "average": self.average}
        if isinstance(callback, Validation):
            self.parts["validation"] = callback

    def after_step(self, step: int) -> None:
        """Update learning rate and averaged weights; the first tenth of the steps is too poor to average over."""
        self.scheduler.step()
        if step < self.config.steps // 10:
            self.average.module.load_state_dict(self.parts["model"].state_dict())
        else:
            self.average.update_parameters(self.parts["model"])

    def is_due(self, step: int) -> bool:
        """Whether the callback is due."""
        return (step + 1) % max(self.config.steps // CALLBACKS, 1) == 0 or step + 1 == self.config.steps

    def save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(path, state | {"losses": self.losses, "config": asdict(self.config), "origin": self.origin,
                                       "stopped": self.stopped})

    def load(self, path: Path, device: torch.device) -> None:
        """ValueError in one sentence for a checkpoint that belongs to another training or is damaged."""
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            config = TrainConfig(**state["config"])
        except (UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a checkpoint that can be read; delete it or use another folder") from error
        known = state.get("origin", {})
        other = [name for name, value in self.origin.items() if known.get(name) != value]
        other += ["settings"] if config != self.config else []
        if other:
            raise ValueError(f"{path}: this checkpoint was made with other {' and '.join(other)}; delete it or use "
                             "another folder")
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"{path}: this checkpoint was made with other sizes; delete it or use another "
                             "folder") from error
        self.losses, self.stopped = state["losses"], state.get("stopped", False)


def _accelerator(device: str | torch.device) -> Accelerator:
    """An accelerator on this device. Accelerate keeps a process on its first device; ours may train on one, then on
    another."""
    kind, shared = torch.device(device).type, PartialState._shared_state
    if shared and shared["device"].type != kind and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=kind == "cpu")


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


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": [parameter for parameter in learning if parameter.ndim >= 2],
               "weight_decay": config.weight_decay},
              {"params": [parameter for parameter in learning if parameter.ndim < 2], "weight_decay": 0.0}]
    if config.muon:
        from timm.optim import Muon  # here, because all of timm comes with it

        return Muon(groups, lr=config.learning_rate, betas=config.betas, nesterov=True, ns_coefficients="original")
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6, fused=True)


def _step(objective, num_examples, config, step, optimizer, accelerator) -> float:
    rank, number = accelerator.process_index, accelerator.num_processes
    rows = np.random.default_rng([config.seed, step]).integers(num_examples, size=config.batch_size)[rank::number]
    seed = config.seed * 1_000_003 + step + (rank << 40)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on any device
    # for dropout inside library modules; torch.manual_seed would queue a call for every device that is absent
    (torch.default_generator if accelerator.device.type == "cpu" else torch).manual_seed(seed)
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
    else:  # oneDNN's own answer is yes wherever it can emulate it, on every processor with AVX-512
        quick = kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=quick)


def _schedule(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to 2%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
