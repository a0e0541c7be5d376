"""The training loop, from top to bottom, for everything that is trained: the mappers, and the mini stack's parts."""

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
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from v2a_utils.models.weights import save_checkpoint

CALLBACKS = 20  # in a run
SAVE_EVERY = 60  # s


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


def train_mapper(mapper: nn.Module, visual: np.ndarray, audio: np.ndarray, config: TrainConfig,
                 checkpoint: Path | None = None, device: str = "cpu",
                 callback: Callable[[nn.Module, list[float]], bool | None] | None = None,
                 origin: dict[str, str] | None = None) -> list[float]:
    """Train a mapper with `fit` on unit-norm pairs (n, v) and (n, a), row by row; returns the loss of every step."""
    if len(visual) != len(audio):
        raise ValueError(f"{len(visual)} visual but {len(audio)} audio embeddings: rows must belong together")
    inputs, targets = (torch.from_numpy(np.asarray(side, np.float32)) for side in (visual, audio))

    def loss_of(model: nn.Module, rows: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        place = next(model.parameters()).device
        return model.loss(inputs[rows].to(place), targets[rows].to(place), generator)

    return fit(mapper, loss_of, len(visual), config, checkpoint, f"{mapper.kind} mapper", device, callback, origin)


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

    Under `accelerate launch` or `torchrun` every process takes its share of a batch. FloatingPointError for NaN.
    """
    accelerator, origin = _accelerator(device), origin or {}
    rank, processes, main = accelerator.process_index, accelerator.num_processes, accelerator.is_main_process
    model.to(accelerator.device).train()
    objective = accelerator.prepare(_Objective(model, loss_of))
    optimizer = _optimizer(model, config)
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True).eval()

    losses, stopped = [], False
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "average": average}
    if isinstance(callback, Validation):
        parts["validation"] = callback
    if checkpoint is not None and checkpoint.is_file():
        losses, stopped = load_run(checkpoint, parts, config, origin, accelerator.device)
    accelerator.wait_for_everyone()  # no process writes what another still reads

    saved, last = time.monotonic(), config.steps - 1
    bar = tqdm(range(len(losses), 0 if stopped else config.steps), initial=len(losses), total=config.steps, desc=title,
               mininterval=5, disable=not main)
    for step in bar:
        # the batch, and the noise: on the CPU, so that it is the same on every device
        rows = np.random.default_rng([config.seed, step]).integers(num_examples, size=config.batch_size)
        seed = config.seed * 1_000_003 + step + (rank << 40)
        generator = torch.Generator().manual_seed(seed)
        # for dropout inside library modules; torch.manual_seed would queue a call for every device that is absent
        (torch.default_generator if accelerator.device.type == "cpu" else torch).manual_seed(seed)

        # forward, backward, update
        with half_precision(accelerator.device):
            loss = objective(rows[rank::processes], generator)
        losses.append(accelerator.reduce(loss.detach(), "mean").item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}: lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), config.grad_norm)
        optimizer.step()
        scheduler.step()
        if step < config.steps // 10:  # the first weights are too poor to average over
            average.module.load_state_dict(model.state_dict())
        else:
            average.update_parameters(model)

        # now and then: say how it goes, validate, save
        if step % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        if callback is not None and ((step + 1) % max(config.steps // CALLBACKS, 1) == 0 or step == last):
            stop = main and bool(callback(average.module, losses))
            stopped = accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)).item() > 0
        if checkpoint is not None and main and time.monotonic() - saved > SAVE_EVERY:
            save_run(checkpoint, parts, config, origin, losses, stopped)
            saved = time.monotonic()
        if stopped:
            break
    if checkpoint is not None and main:
        save_run(checkpoint, parts, config, origin, losses, stopped)
    model.load_state_dict(getattr(callback, "best", None) or average.module.state_dict())
    model.eval()
    return losses


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to 2%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def half_precision(device: str | torch.device) -> torch.autocast:
    """bfloat16 autocast where the hardware computes in it, else none (emulation would be slower than float32)."""
    kind = torch.device(device).type
    if kind == "cuda":  # a T4 and older cards would only emulate it
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # oneDNN's own answer is yes wherever it can emulate it, on every processor with AVX-512
        quick = kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=quick)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": [parameter for parameter in learning if parameter.ndim >= 2],
               "weight_decay": config.weight_decay},
              {"params": [parameter for parameter in learning if parameter.ndim < 2], "weight_decay": 0.0}]
    if config.muon:
        from timm.optim import Muon  # here, because all of timm comes with it

        return Muon(groups, lr=config.learning_rate, betas=config.betas, nesterov=True, ns_coefficients="original")
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6, fused=True)


# --------------------------------------------------------------------------------------------------------- validation


class Validation:
    """A callback for `fit` that evaluates the averaged model, keeps its best weights, and says when to stop.

    `evaluate(model)` gives measures by name; the one called `score` is minimised. `history` holds them with the step
    and the training loss. Its state is part of the run's checkpoint. `watch(model, losses)` is called after each.
    """

    def __init__(self, evaluate: Callable[[nn.Module], dict[str, float]], score: str, patience: int = 0,
                 watch: Callable[[nn.Module, list[float]], object] | None = None):
        self.evaluate, self.score, self.patience, self.watch = evaluate, score, patience, watch
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
        if self.watch is not None:
            self.watch(averaged, losses)
        return 0 < self.patience <= since_best

    def state_dict(self) -> dict:
        """For the checkpoint."""
        return {"history": self.history, "best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: dict) -> None:
        """From the checkpoint."""
        self.history, self.best, self.best_step = state["history"], state["best"], state["best_step"]


# -------------------------------------------------------------------------------------------- checkpoints, processes


def save_run(path: Path, parts: dict, config: TrainConfig, origin: dict[str, str], losses: list[float],
             stopped: bool) -> None:
    """Write the state of a training between two steps; `parts` are what has a state_dict."""
    state = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, state | {"losses": losses, "config": asdict(config), "origin": origin, "stopped": stopped})


def load_run(path: Path, parts: dict, config: TrainConfig, origin: dict[str, str],
             device: torch.device) -> tuple[list[float], bool]:
    """Read what `save_run` wrote into `parts`; returns the losses, and whether the run was stopped early.

    ValueError in one sentence for a checkpoint that belongs to another training or is damaged.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        known, made_with = state.get("origin", {}), TrainConfig(**state["config"])
    except (UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a checkpoint that can be read; delete it or use another folder") from error
    other = [name for name, value in origin.items() if known.get(name) != value]
    other += ["settings"] if made_with != config else []
    if other:
        raise ValueError(f"{path}: made with other {' and '.join(other)}; delete it or use another folder")
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: made with other sizes; delete it or use another folder") from error
    return state["losses"], state.get("stopped", False)


def _accelerator(device: str | torch.device) -> Accelerator:
    """An accelerator on this device; by itself Accelerate would keep a process on its first one."""
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
