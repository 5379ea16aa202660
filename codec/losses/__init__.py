"""Objectives of codec training, each with one name in config, log and code.

| name | what | where |
|---|---|---|
| `time` | L1 of the waveform | :class:`WaveformLoss` |
| `mel` | multi-scale log-mel L1 and L2 | :class:`MelLoss` (or :class:`MultiScaleSTFTLoss`) |
| `loudness` | what an ear would notice: the model of PESQ | :class:`LoudnessLoss` |
| `adversarial` | generator against six mel discriminators | :func:`generator_adversarial_loss` |
| `feature_matching` | relative L1 of their feature maps | :func:`feature_matching_loss` |
| `masked` | MAE on Patchify's frames | :class:`MaskedFrames` |
| `autoregressive` | next RVQ layer from those before it | :class:`AutoregressiveDepth` |
| `spectrum` | each query says the spectrum of its window | :class:`QuerySpectrum` |
| `phones` | each query says which phones its window has | :class:`QueryPhonemes` |
| `first_phones` | the same of the first codebook alone | :class:`QueryPhonemes` |
| `recognition` | a listener hears the same phones in what is decoded | :func:`recognition_loss` |
| `pitch` | decoded frames name the pitch of the voice | :class:`PitchLoss` |
| `commitment` | encoder near its codes | the quantizer's own `commitment_loss` |

`time`, `mel`, `loudness`, `adversarial`, `feature_matching` and `recognition` are functions of the
waveform and go through the :class:`Balancer`; the others act on inner tensors and are added as they
are.
"""

from .adversarial import (
    AdversarialKind,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    generator_adversarial_loss,
)
from .autoregressive import (
    AutoregressiveDepth,
    AutoregressiveDepthConfig,
    AutoregressiveOutput,
)
from .balancer import Balancer
from .discriminators import DiscriminatorOutput, MelDiscriminators, MelDiscriminatorsConfig
from .loudness import LoudnessLoss
from .masked import MaskedBatch, MaskedFrames, MaskedFramesConfig
from .phones import QueryPhonemes, recognition_loss
from .pitch import PitchLoss
from .reconstruction import (
    MelLoss,
    MelLossConfig,
    MultiScaleSTFTLoss,
    MultiScaleSTFTLossConfig,
    WaveformLoss,
)
from .window_spectrum import QuerySpectrum

__all__ = [
    "AdversarialKind",
    "AutoregressiveDepth",
    "AutoregressiveDepthConfig",
    "AutoregressiveOutput",
    "Balancer",
    "DiscriminatorOutput",
    "LoudnessLoss",
    "MaskedBatch",
    "MaskedFrames",
    "MaskedFramesConfig",
    "MelDiscriminators",
    "MelDiscriminatorsConfig",
    "MelLoss",
    "MelLossConfig",
    "MultiScaleSTFTLoss",
    "MultiScaleSTFTLossConfig",
    "PitchLoss",
    "QueryPhonemes",
    "WaveformLoss",
    "QuerySpectrum",
    "discriminator_loss",
    "feature_matching_loss",
    "frozen",
    "generator_adversarial_loss",
    "recognition_loss",
]
