"""The losses of codec training, one entry each. Does not import torch: the command line reads it.

An entry gives a loss its config field ``weight_NAME``, its command-line flag, its name in
``metrics.jsonl`` and the prefix of its parameters in checkpoints. To add a loss, write a
:class:`~almtok.codec.losses.base.TrainingLoss` in a module of this package and add its entry
(docs/extending.md, "Add a loss").
"""

import dataclasses
from typing import TypeVar

from ...core.options import advanced

Class = TypeVar("Class", bound=type)

_FROM_STAGE_2 = ("2", "adapt")


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """One loss of codec training."""

    name: str
    implementation: str  # "module:Class", the module in this package
    weight: float  # default of the config field weight_NAME; 0 switches the loss off
    help: str  # of the flag --weight-NAME
    stages: tuple[str, ...] = ("2",)  # training stages in which the loss can be computed
    waveform: bool = False  # a function of the output waveform: weighted by the gradient balancer
    needs_phonemes: bool = False  # uses the config's `phoneme_classifier`
    needs_teacher: bool = False  # uses the model of the config field `teacher_speech`
    adversarial: bool = False  # uses the discriminators


# Order matters: it is the order in which gradients are summed and parameters are numbered.
LOSSES = (
    LossSpec("time", "reconstruction:WaveformLoss", 0.1, "L1 distance of waveforms",
             ("1", "2", "adapt"), waveform=True),
    LossSpec("mel", "reconstruction:MelLoss", 1.0, "multi-scale mel spectrogram distance",
             ("1", "2", "adapt"), waveform=True),
    LossSpec("recognition", "phones:RecognitionLoss", 0.0,
             "distance of the phoneme posteriors of decoded and original audio,"
             " by --phoneme-classifier; ours; stage 2, adapt", _FROM_STAGE_2, waveform=True,
             needs_phonemes=True),
    LossSpec("adversarial", "adversarial:AdversarialLoss", 3.0, "adversarial loss of the generator",
             ("1", "2", "adapt"), waveform=True, adversarial=True),
    LossSpec("feature_matching", "adversarial:FeatureMatchingLoss", 3.0,
             "distance of discriminator features",
             ("1", "2", "adapt"), waveform=True, adversarial=True),
    LossSpec("masked", "masked:MaskedFrames", 1.0, "masked frame prediction, MAE", ("1", "2")),
    LossSpec("autoregressive", "autoregressive:AutoregressiveDepth", 0.0,
             "prediction of the next RVQ layer; stage 2"),
    LossSpec("commitment", "commitment:CommitmentLoss", 0.0, "RVQ commitment; stage 2"),
    LossSpec("spectrum", "window_spectrum:QuerySpectrum", 0.0,
             "prediction of window spectra from queries; ours, for short trainings; stage 2"),
    LossSpec("phones", "phones:QueryPhonemes", 0.0,
             "prediction of window phonemes from queries, by --phoneme-classifier; ours;"
             " stage 2",
             needs_phonemes=True),
    LossSpec("first_phones", "phones:FirstCodebookPhonemes", 0.0,
             "prediction of window phonemes from the first codebook, by --phoneme-classifier; ours;"
             " stage 2",
             needs_phonemes=True),
    LossSpec("latent", "latent:LatentDistance", 0.0,
             "distance of decoder frames to patchify frames; ours, for short trainings; stage 2,"
             " adapt", _FROM_STAGE_2),
    LossSpec("pitch", "pitch:PitchLoss", 0.3,
             "cross-entropy of the pitch; ours, for the harmonic vocoder; stage 2, adapt",
             _FROM_STAGE_2),
    LossSpec("speech_features", "speech_features:SpeechFeaturesLoss", 0.0,
             "distance of the teacher's features of decoded and original speech, by"
             " --teacher-speech; ours; stage 2, adapt", _FROM_STAGE_2, waveform=True,
             needs_teacher=True),
    LossSpec("distillation", "speech_features:QueryDistillation", 0.0,
             "prediction of the teacher's features of a window from queries, by --teacher-speech;"
             " ours; stage 2", needs_teacher=True),
    LossSpec("first_distillation", "speech_features:FirstCodebookDistillation", 0.0,
             "prediction of the teacher's features of a window from the first codebook, by"
             " --teacher-speech; ours; stage 2", needs_teacher=True),
)  # fmt: skip


def with_loss_weights(config: Class) -> Class:
    """Class decorator, below ``dataclass``: add a field ``weight_NAME`` for each loss.

    The fields follow ``balancer_decay``, the last general field of losses.
    """
    annotations = {}
    for field, kind in config.__annotations__.items():
        annotations[field] = kind
        if field == "balancer_decay":
            for spec in LOSSES:
                annotations[f"weight_{spec.name}"] = float
                setattr(config, f"weight_{spec.name}", advanced(spec.weight, spec.help))
    config.__annotations__ = annotations
    return config
