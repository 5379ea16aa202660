"""Reports of a codec run: losses, codebooks, samples, alarms, skipped steps.

The first process writes the reports; the others only list the crops of skipped steps.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...core.data import SegmentBatch
from ...core.report.pictures import spectrogram_pixels
from ...core.training.run_folder import Monitor
from ..model import ALMTokenizer
from .config import CodecTrainConfig
from .state import TrainState
from .step import whole_windows
from .update import StepReport


@dataclass(frozen=True)
class Validation:
    """Distances on held-out crops, and a few reconstructions."""

    mel: dict[str, float]  # mel distance by domain, and "all"
    time: dict[str, float]  # waveform L1 by domain, and "all"
    targets: list[Tensor]  # each [S]
    samples: list[Tensor]  # each [S], reconstructions of the targets


@torch.no_grad()
def validate(
    state: TrainState, batches: Sequence[SegmentBatch], num_samples: int = 4
) -> Validation:
    """Reconstruct held-out crops at the frames per query of the codec's config.

    Args:
        state: The run; its averaged weights are used if there are any.
        batches: Held-out crops.
        num_samples: Number of reconstructions to return, spread over the crops.
    """
    rows: list[tuple[str, float, float]] = []  # domain, mel, time
    pairs: list[tuple[Tensor, Tensor]] = []
    with state.averaged() as model:
        for batch in batches:
            window = 1 if state.config.stage == "1" else model.config.frames_per_query
            wav = whole_windows(batch.wav.to(state.device), model.config.hop_length * window)
            output = reconstruct(model, wav, state.config.stage)
            for item, domain in enumerate(batch.domains):
                sample, target = output[item : item + 1], wav[item : item + 1]
                mel = float(state.mel_loss(sample, target))
                rows.append((domain, mel, float(state.waveform_loss(sample, target))))
                pairs.append((target[0, 0].cpu(), sample[0, 0].cpu()))
    stride = max(1, len(pairs) // num_samples)
    samples = pairs[::stride][:num_samples]
    return Validation(
        mel=_means([(domain, mel) for domain, mel, _ in rows]),
        time=_means([(domain, time) for domain, _, time in rows]),
        targets=[target for target, _ in samples],
        samples=[sample for _, sample in samples],
    )


def reconstruct(model: ALMTokenizer, wav: Tensor, stage: str) -> Tensor:
    """Reconstruct ``[B, 1, S]`` with the trained parts: stage 1 has no codes."""
    frames = model.patchify(wav)
    if stage != "1":
        window = model.config.frames_per_query
        queries = model.encoder(frames, window)
        if model.quantizer.initialized:  # not before quantize_start
            queries = model.quantizer.dequantize(model.quantizer.quantize(queries))
        frames = model.decoder(queries, window)
    return model.unpatchify(frames)


def _means(rows: list[tuple[str, float]]) -> dict[str, float]:
    groups: dict[str, list[float]] = {"all": [value for _, value in rows]}
    for domain, value in rows:
        groups.setdefault(domain, []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items() if values}


# Decay of the running average of the discriminator loss, per log line.
_SMOOTHING = 0.9


class CodecMonitor(Monitor):
    """Reports a codec run.

    Args:
        state: The run, at the step where it starts or resumes.
    """

    def __init__(self, state: TrainState) -> None:
        stage = state.config.stage
        name = stage if stage == "adapt" else f"stage {stage}"
        super().__init__(
            state.config, state.step, name=name, main=state.accelerator.is_main_process
        )
        self.state = state
        self.alarms = TrainingAlarms(config=state.config)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0

    def after_step(self, report: StepReport, batches: Sequence[SegmentBatch]) -> None:
        """Add the losses of one step, or list its crops if it was skipped."""
        self._steps += 1
        if report.problem is not None:
            self._dump(report, batches)
            return
        for name, value in report.losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def log(self, report: StepReport) -> None:
        """Write the mean losses since the last call, and values of the last step.

        Args:
            report: Report of the last step.
        """
        config, step = self.state.config, self.state.step
        losses = self._means()
        rate = self._steps * config.batch_size * config.segment_seconds / self.seconds()
        self._sums, self._counts, self._steps = {}, {}, 0
        if not self.main:
            return
        codebooks = []
        if config.stage == "2":
            codebooks = [
                {k: v for k, v in dataclasses.asdict(layer).items() if v is not None}
                for layer in self.state.model.quantizer.usage()
            ]
        self.write(
            {
                "step": step,
                "losses": losses,
                "gradient_norms": report.norms,
                "lr": config.lr * report.draw.lr_scale,
                "frames_per_query": report.draw.frames_per_query,
                "codebooks": codebooks,
                "skipped": self.state.skipped,
                "audio_seconds_per_second": round(rate, 2),
            }
        )
        self.scalars(losses, step, "loss/")
        self.scalars(report.norms, step, "gradient_norm/")
        for number, layer in enumerate(codebooks, start=1):
            self.scalars(layer, step, f"codebook{number}/")
        run = {
            "lr": config.lr * report.draw.lr_scale,
            "audio_seconds_per_second": rate,
            "skipped": self.state.skipped,
        }
        self.scalars(run, step, "run/")
        shown = {name: f"{losses[name]:.3f}" for name in ("mel", "adversarial") if name in losses}
        self.show(**shown, audio=f"{rate:.0f}s/s")
        for alarm in self.alarms.check(step, losses, codebooks):
            self.say(f"ALARM at step {step}: {alarm}")
            self.write({"step": step, "alarm": alarm})
            if self.tracker is not None:
                self.tracker.text("alarm", alarm, step)

    def validated(self, validation: Validation) -> None:
        """Write a validation and its samples."""
        step = self.state.step
        record = {"mel": validation.mel, "time": validation.time}
        self.write({"step": step, "validation": record})
        scores = ", ".join(f"{name} {value:.3f}" for name, value in validation.mel.items())
        self.say(f"step {step}: held-out mel distance {scores}")
        for kind, values in record.items():
            self.scalars(values, step, f"validation/{kind}/")
        if self.tracker is None:
            return
        rate = self.state.model.config.sample_rate
        pairs = zip(validation.targets, validation.samples, strict=True)
        for number, (target, sample) in enumerate(pairs):
            for name, wav in (("target", target), ("reconstruction", sample)):
                self.tracker.audio(f"clip{number}/{name}", wav, rate, step)
            pixels = spectrogram_pixels([target, sample], rate)
            self.tracker.image(f"clip{number}/target_above_reconstruction", pixels, step)
        self.tracker.flush()

    def _means(self) -> dict[str, float]:
        """Mean losses over all processes, which call this at the same steps with the same names."""
        names = sorted(self._sums)
        if not names:
            return {}
        means = torch.stack([self._sums[n].float() / self._counts[n] for n in names])
        means = self.state.accelerator.reduce(means, reduction="mean")
        return dict(zip(names, means.tolist(), strict=True))

    def _dump(self, report: StepReport, batches: Sequence[SegmentBatch]) -> None:
        """Report a skipped step and write the list of its crops."""
        rank = self.state.accelerator.process_index
        path = self.folder / "skipped" / f"step-{report.step:08d}.process-{rank}.json"
        path.parent.mkdir(exist_ok=True)
        record = {
            "step": report.step,
            "problem": report.problem,
            "gradient_norms": {name: repr(norm) for name, norm in report.norms.items()},
            "losses": {name: repr(float(value)) for name, value in report.losses.items()},
            "crops": [
                {"ids": list(ids), "domain": domain, "finite": bool(torch.isfinite(wav).all())}
                for batch in batches
                for ids, domain, wav in zip(batch.ids, batch.domains, batch.wav, strict=True)
            ],
        }
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
        self.say(f"step {report.step} skipped: {report.problem}; crops: {path}")
        self.write({"step": report.step + 1, "skipped_because": report.problem})


@dataclass(kw_only=True)
class TrainingAlarms:
    """Warns of codebook collapse and of discriminators that dominate.

    An alarm is given once when its condition begins, and again only after the condition has ended.
    """

    config: CodecTrainConfig
    active: set[str] = field(default_factory=set)
    discriminator_loss: float | None = None  # running average

    def check(
        self, step: int, losses: Mapping[str, float], codebooks: Sequence[Mapping[str, float]]
    ) -> list[str]:
        """Return the messages of new alarms.

        Args:
            step: Number of the step.
            losses: Mean losses since the last check.
            codebooks: ``usage`` and ``perplexity`` of each RVQ layer, first layer first.
        """
        if "discriminator" in losses:
            before = self.discriminator_loss
            now = losses["discriminator"]
            self.discriminator_loss = (
                now if before is None else _SMOOTHING * before + (1 - _SMOOTHING) * now
            )
        if step < self.config.alarm_after:
            return []
        messages: dict[str, str] = {}
        for number, codebook in enumerate(codebooks, start=1):
            if codebook["usage"] < self.config.alarm_usage:
                messages[f"codebook {number}"] = (
                    f"codebook {number} collapses: {codebook['usage']:.1%} of its entries are used"
                    f" (perplexity {codebook['perplexity']:.1f}); lower the learning rate, raise"
                    " the batch size, or check the prior"
                )
        late = step >= self.config.adversarial_start + self.config.alarm_after
        if late and self.discriminator_loss is not None:
            if self.discriminator_loss < self.config.alarm_discriminator:
                messages["discriminator"] = (
                    f"the discriminators dominate: their loss averages"
                    f" {self.discriminator_loss:.3f}; lower discriminator_lr or"
                    " discriminator_probability"
                )
        new = [message for name, message in messages.items() if name not in self.active]
        self.active = set(messages)
        return new
