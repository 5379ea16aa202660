"""Speaker encoders: embeddings whose cosine tells how similar two voices are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..audio import Waveform
from ..choices import AUTO
from ..loading import no_inner_bars, refuse_adapter
from ..metrics.intervals import Interval, bootstrap_interval
from ..reading import reading
from ..runtime import find_device
from .base import (
    RATE,
    Judge,
    JudgedAudio,
    package_folder,
    pretrained_name,
    version_of,
    weights_stamp,
)

Embedding = npt.NDArray[np.float32]

# Of Resemblyzer: mel bands, LSTM, windows of 1.6 s at 1.3 per second, level of quiet speech.
_BANDS, _SIZE, _LAYERS = 40, 256, 3
_FFT, _HOP = 400, 160
_WINDOW, _STEP = 160, 77  # frames
_COVERAGE = 0.75  # of the last window, by audio
_QUIET_DBFS = -30.0
_UNUSED = ("classifier.", "objective.")  # of an x-vector model: what comes after the embedding


class SpeakerEncoder(Judge):
    """Maps speech to an embedding of its speaker."""

    role = "speaker encoder"

    @abstractmethod
    def embed(self, wav: Waveform) -> Embedding:
        """Return the embedding [D] of speech [S] at 16 kHz, of length 1; zeros for silence."""

    def judge_all(self, clips: Sequence[JudgedAudio]) -> list[dict[str, Any]]:
        """Return the embeddings, as `embedding`."""
        embeddings = (self.embed(clip.at_rate()) for clip in clips)
        return [{"embedding": [round(float(x), 6) for x in one]} for one in embeddings]


class Resemblyzer(SpeakerEncoder):
    """The LSTM of Resemblyzer (Wan et al., "Generalized end-to-end loss", 2018).

    Only the weights of the package are used: its code imports `pkg_resources`, which setuptools no
    longer has, by way of `webrtcvad`. Speech is embedded with its pauses, which Resemblyzer removes
    by webrtcvad.
    """

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ModuleNotFoundError: The package is not installed.
        """
        from transformers.audio_utils import mel_filter_bank

        advice = "; without a C compiler: pip install --no-deps Resemblyzer"
        path = package_folder("resemblyzer", "Resemblyzer", advice) / "pretrained.pt"
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(_BANDS, _SIZE, _LAYERS, batch_first=True)
        self._linear = torch.nn.Linear(_SIZE, _SIZE)
        for name, module in (("lstm.", self._lstm), ("linear.", self._linear)):
            module.load_state_dict(
                {key.removeprefix(name): x for key, x in state.items() if key.startswith(name)}
            )
        filters = mel_filter_bank(
            _FFT // 2 + 1, _BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney"
        )
        self._filters = torch.from_numpy(filters).float()  # [F, M]
        self.name = f"resemblyzer (weights {weights_stamp([path])}), pauses included"
        self.details = version_of("Resemblyzer")

    @torch.inference_mode()
    def embed(self, wav: Waveform) -> Embedding:
        """Return the embedding [256]: the normalised mean over windows of 1.6 s."""
        level = 10.0 * np.log10(max(float(np.square(wav, dtype=np.float64).mean()), 1e-20))
        if not wav.any():
            return np.zeros(_SIZE, np.float32)
        wav = wav * np.float32(10.0 ** (max(0.0, _QUIET_DBFS - level) / 20.0))
        starts = _window_starts(wav.size)
        missing = (starts[-1] + _WINDOW) * _HOP - wav.size
        samples = torch.from_numpy(np.pad(wav, (0, max(0, missing))))
        spectrum = torch.stft(
            samples, _FFT, _HOP, window=torch.hann_window(_FFT), pad_mode="constant",
            return_complex=True,
        )  # [F, N]  # fmt: skip
        mel = spectrum.abs().square().T @ self._filters  # [N, M]
        _, (hidden, _) = self._lstm(torch.stack([mel[n : n + _WINDOW] for n in starts]))
        windows = torch.nn.functional.normalize(torch.relu(self._linear(hidden[-1])), dim=1)
        mean: Embedding = torch.nn.functional.normalize(windows.mean(0), dim=0).numpy()
        return mean


def _window_starts(samples: int) -> list[int]:
    """First frames of the windows of Resemblyzer."""
    frames = -(-(samples + 1) // _HOP)
    starts = list(range(0, max(1, frames - _WINDOW + _STEP + 1), _STEP))
    covered = (samples - starts[-1] * _HOP) / (_WINDOW * _HOP)
    return starts[:-1] if covered < _COVERAGE and len(starts) > 1 else starts


class XVector(SpeakerEncoder):
    """A model of transformers with an x-vector head, such as microsoft/wavlm-base-plus-sv."""

    def __init__(self, place: str, *, device: str | torch.device = AUTO) -> None:
        """Load the model, in float32.

        Args:
            place: folder or hub id.
            device: to run on.

        Raises:
            ValueError: It is not a model with an x-vector head that can be loaded.
        """
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        kinds = "resemblyzer, or a folder or hub id of an x-vector model"
        with reading(f"speaker encoder must be {kinds}, got {place}", ValueError):
            refuse_adapter(place, {})
            with no_inner_bars():
                model, report = AutoModelForAudioXVector.from_pretrained(
                    place, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
                )
            features: Any = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
        missing = [key for key in report["missing_keys"] if not key.startswith(_UNUSED)]
        if missing:
            raise ValueError(f"{place} has no x-vector head: it lacks {min(missing)}")
        self.device = find_device(device)
        self._model, self._features = model.eval().to(self.device), features
        self.name = f"{pretrained_name(place, model)}, float32"
        self.details = version_of("transformers")

    @torch.inference_mode()
    def embed(self, wav: Waveform) -> Embedding:
        """Return the embedding [D]."""
        size = self._model.config.xvector_output_dim
        if not wav.any():
            return np.zeros(size, np.float32)
        values = self._features(wav, sampling_rate=RATE, return_tensors="pt").to(self.device)
        found = self._model(**values).embeddings[0]
        embedding: Embedding = torch.nn.functional.normalize(found, dim=0).cpu().numpy()
        return embedding


def cosine(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Cosine of two embeddings [D] of length 1; 0 if one of them is of silence."""
    return float(np.dot(np.asarray(a, np.float64), np.asarray(b, np.float64)))


def speaker_scale(
    embeddings: Mapping[str, Sequence[float]],
    speakers: Mapping[str, str],
    chosen: Collection[str],
) -> dict[str, Interval]:
    """Mean cosines between recordings of the same speaker, and of different speakers.

    Args:
        embeddings: of recordings by clip id, each [D].
        speakers: by clip id; clips with "" are left out.
        chosen: ids of the clips that are compared with all others.

    Returns:
        ``same`` and ``other``, each with an interval over the chosen clips, where there are any.
    """
    names = [name for name in embeddings if speakers.get(name)]
    if not names:
        return {}
    vectors = np.array([embeddings[name] for name in names])  # [n, D]
    labels = np.array([speakers[name] for name in names])
    cosines = vectors @ vectors.T
    same = labels[:, None] == labels
    apart = ~np.eye(len(names), dtype=bool)
    means: dict[str, Interval] = {}
    for kind, pairs in (("same", same & apart), ("other", ~same)):
        rows = [n for n, name in enumerate(names) if name in chosen and pairs[n].any()]
        if rows:
            means[kind] = bootstrap_interval([float(cosines[n][pairs[n]].mean()) for n in rows])
    return means
