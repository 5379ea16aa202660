"""AudioLMTrainer: transformers' Trainer, with batches, checkpoints and care of our own.

Theirs: devices, processes, mixed precision, accumulation, the loop. Ours: which rows make a step
(`batches.py`), checkpoints without pickles that are complete or not there (`codec/train`), losses
by stream, bad steps that leave no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ...core.runtime import choose_runtime
from ...core.training.checkpoint import Checkpoint, write_checkpoint
from ...core.training.interrupt import Interrupt
from ...core.training.optimizer import make_adamw, make_muon
from ...core.training.seeding import draw_int, lr_scale
from ..model import AudioLM
from . import checkpoint
from .batches import Batch, Batches
from .config import LMTrainingConfig
from .distillation import DistillationTeacher, forward_with_teacher
from .meter import Meter, MeterReading
from .monitor import Monitor
from .schedule import Clock, is_due
from .sharding import is_sharded
from .validation import Validator


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and what is left."""


def training_arguments(config: LMTrainingConfig) -> TrainingArguments:
    """What transformers has to know; it also joins the other processes of a `torchrun`.

    Raises:
        ValueError: the micro-batches of a step cannot be dealt out evenly to the processes, or the
            device is not there, or cannot train in this precision.
    """
    runtime = choose_runtime(config.device, config.precision)
    if runtime.precision == "fp16" and runtime.device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU; on a CPU use auto, fp32 or bf16")
    args = TrainingArguments(
        output_dir=config.out,
        max_steps=config.steps,
        bf16=runtime.precision == "bf16",
        fp16=runtime.precision == "fp16",
        use_cpu=runtime.device.type == "cpu",
        max_grad_norm=config.clip_norm or float("inf"),
        activation_checkpointing=config.checkpointing,
        seed=config.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        ddp_find_unused_parameters=False,
    )
    args._n_gpu = min(1, args.n_gpu)  # several GPUs are several processes, never DataParallel
    if config.accumulate % args.world_size:
        raise ValueError(
            f"accumulate {config.accumulate} micro-batches cannot be dealt out evenly to"
            f" {args.world_size} processes: expected a multiple of {args.world_size}"
        )
    args.gradient_accumulation_steps = config.accumulate // args.world_size
    return args


def precision_of(args: TrainingArguments) -> str:
    """fp32, bf16 or fp16."""
    return "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"


class AudioLMTrainer(Trainer):
    """One run: `lm` learns from `batches` until `config.steps`."""

    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        lm: AudioLM,
        config: LMTrainingConfig,
        batches: Batches,
        *,
        args: TrainingArguments | None = None,
        validator: Validator | None = None,
        start: Checkpoint | None = None,
        teacher: DistillationTeacher | None = None,
    ) -> None:
        """Put a run together.

        Args:
            lm: parameters that require a gradient are trained and saved.
            config: of the run.
            batches: of this process.
            args: if they were made before.
            validator: judges the model on held-out rows.
            start: the checkpoint to go on from.
            teacher: of tasks that are to stay as they were.
        """
        super().__init__(model=lm, args=args or training_arguments(config))
        if is_sharded(lm):  # Trainer's word for a model that looks after its own division
            self.is_distributed_loading_by_transformers = True
        self.model.config.__dict__.pop("use_cache", None)  # Trainer writes it there, unasked
        self.remove_callback(PrinterCallback)
        self.add_callback(_Conductor(self))
        self.run, self.config, self.batches = Path(config.out), config, batches
        self.validator, self.start, self.teacher = validator, start, teacher
        self.skipped = self.skipped_in_a_row = 0
        self.interrupt = Interrupt()
        self.clock = Clock(config.checkpoint_minutes)
        self.monitor: Monitor | None = None
        self.export: Callable[[], object] | None = None  # called after each checkpoint, by all
        self.last_saved = start.step if start is not None else -1
        self.reading: MeterReading | None = None  # of the last log line
        self._meter = Meter(lm.config, self.args.device)
        self._step_meter = Meter(lm.config, self.args.device)
        self._micro = 0  # micro-batches that this process has begun in this step
        self._losses: list[Tensor] = []  # of this step, to say which of them was bad

    # ------------------------------------------------------------------ one step

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None
    ) -> Tensor:
        """Add a micro-batch's gradients; all that is random is drawn from its number."""
        world, step = self.args.world_size, self.state.global_step
        number = self._micro * world + self.args.process_index
        self._micro += 1
        torch.manual_seed(draw_int(self.config.seed, "micro", step, number))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._losses.append(loss)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of a micro-batch as its share of the step; its parts are noted."""
        if self.teacher is None:
            loss, outputs = super().compute_loss(model, dict(inputs), True, num_items_in_batch)
        else:
            forward: Any = partial(forward_with_teacher, model, self.model, self.teacher)
            with self.accelerator.autocast():
                loss, outputs = super().compute_loss(
                    forward, dict(inputs), True, num_items_in_batch
                )
        self._step_meter.add(outputs, inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip; where the gradient is not finite, drop it: no weight, no moment changes then."""
        norm = torch.as_tensor(super()._clip_grad_norm(model)).detach()
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if bool(torch.isfinite(norm)):
            self.skipped_in_a_row = 0
            self._meter.merge(self._step_meter)
        elif self._overflowed():
            pass  # the scaler leaves the step out and lowers its scale
        else:
            for parameter in model.parameters():
                parameter.grad = None
            self.skipped += 1
            self.skipped_in_a_row += 1
            losses = [float(loss) for loss in self._losses]
            if self.monitor is not None:
                self.monitor.skipped(self.state.global_step, float(norm), losses)
            if self.skipped_in_a_row >= self.config.max_skips:
                raise TrainingStopped(
                    f"{self.config.max_skips} steps in a row were skipped, the last (step"
                    f" {self.state.global_step}) because its gradient is {float(norm)};"
                    f" losses of its micro-batches: {', '.join(f'{x:.4g}' for x in losses)}. Lower"
                    f" the learning rate or look at the data; {checkpoint.where(self.run)}"
                )
        self._step_meter.clear()
        self._losses.clear()
        self._micro = 0
        return norm

    def _overflowed(self) -> bool:
        """Whether a gradient that is not finite was too large for fp16, not wrong."""
        scaler = self.accelerator.scaler
        return scaler is not None and float(scaler.get_scale()) > 1

    # ------------------------------------------------------------------ what Trainer asks for

    def get_train_dataloader(self) -> Any:
        """Our batches; they have no length and never end."""
        return self.batches

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over what requires a gradient, or Muon for the matrices inside the layers."""
        if self.optimizer is None:
            config, names = self.config, checkpoint.trained(self.model)
            adamw: dict[str, Any] = {
                "lr": config.lr, "betas": config.betas, "weight_decay": config.weight_decay,
            }  # fmt: skip
            if config.muon_lr > 0:
                muon = {"lr": config.muon_lr, "weight_decay": config.weight_decay}
                self.optimizer = make_muon(names, **muon, adamw=adamw, layers=".layers.")
            else:
                self.optimizer = make_adamw(names, **adamw)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Warm-up, then the schedule; its only state is the number of the step."""
        if self.lr_scheduler is None:
            done = self.start.step if self.start is not None else 0
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: lr_scale(self.config, done + step)
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        result = super()._init_training_state(*args, **kwargs)
        if self.start is not None:
            self.state.global_step = self.start.step
        return result

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.start is not None:
            checkpoint.restore(self.model, self.optimizer, self.start)
            self.skipped = self.start.state["skipped"]
            self.skipped_in_a_row = self.start.state["skipped_in_a_row"]
            scaler, scale = self.accelerator.scaler, self.start.state.get("loss_scale")
            if scaler is not None and scale is not None:
                scaler.load_state_dict(scale)
        return prepared

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Exchange gradients at the last micro-batch of a step only."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    # ------------------------------------------------------------------ logging, judging, saving

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A line of the metrics: what Trainer says, and losses and accuracies by stream."""
        if "loss" not in logs:  # Trainer's summary at the end
            return
        self.reading = self._meter.read(self.add_up)
        self._meter.clear()
        self.state.log_history.append({**self.reading.record(), "step": self.state.global_step})
        if self.monitor is not None:
            self.monitor.log(
                self.state.global_step,
                self.reading,
                lr=self.config.lr * lr_scale(self.config, self.state.global_step - 1),
                gradient_norm=logs["grad_norm"],
                skipped=self.skipped,
            )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Judge the model on held-out rows, by task; all processes must come here together."""
        if self.validator is None:
            return {}
        readings = self.validator.judge(self.model, self.args.device, self.add_up)
        sharded = is_sharded(self.model)
        if sharded:
            self.model.reshard()  # without a backward pass nobody else does it
        if self.monitor is not None:
            samples = [] if sharded else self.validator.generate(self.model)
            self.monitor.validated(self.state.global_step, readings, samples)
        return {f"eval_{task}_loss": reading.loss for task, reading in readings.items()}

    def save(self) -> None:
        """Write the checkpoint of the present step; all processes must come here together."""
        step = self.state.global_step
        tensors = checkpoint.tensors(self.model, self.optimizer)
        places = checkpoint.gather(self.batches.state_dict(), self.args.world_size)
        scaler = self.accelerator.scaler
        state = {
            "config": self.config.to_dict(),
            "data": places,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "precision": precision_of(self.args),
            "loss_scale": None if scaler is None else scaler.state_dict(),
        }
        if self.args.process_index == 0:
            write_checkpoint(self.run, step, tensors, state, self.config.keep)
        if self.export is not None:
            self.export()
        self.accelerator.wait_for_everyone()
        self.last_saved = step
        self.clock.restart()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.save()

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum over the processes."""
        return self.accelerator.reduce(tensor, reduction="sum")

    def agree(self, wishes: Mapping[str, bool]) -> dict[str, bool]:
        """What any process wishes."""
        if self.args.world_size == 1:
            return dict(wishes)
        flags = torch.tensor([float(wish) for wish in wishes.values()], device=self.args.device)
        return dict(zip(wishes, (self.add_up(flags) > 0).tolist(), strict=True))


class _Conductor(TrainerCallback):
    """Says after each step what is to be done."""

    def __init__(self, trainer: AudioLMTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        trainer, step = self.trainer, state.global_step
        config = trainer.config
        wishes = {"stop": trainer.interrupt.signal is not None, "save": trainer.clock.due}
        agreed = trainer.agree(wishes)
        last = config.steps
        control.should_log = is_due(config.log_every, step, last)
        control.should_evaluate = is_due(config.validate_every, step, last)
        control.should_save = is_due(config.checkpoint_every, step, last) or any(agreed.values())
        control.should_training_stop = control.should_training_stop or agreed["stop"]
        if trainer.monitor is not None:
            trainer.monitor.advance()
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        # The last step has been logged, judged and saved; Trainer would do it once more here.
        control.should_log = control.should_evaluate = control.should_save = False
        return control
