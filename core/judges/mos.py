"""Predicted mean opinion scores (MOS): DistillMOS and DNSMOS."""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..audio import Waveform
from .base import RATE, Judge, JudgedAudio, package_folder, version_of, weights_stamp


class MOSPredictor(Judge):
    """Predicts opinions of listeners, 1 (bad) to 5."""

    @abstractmethod
    def score(self, wav: Waveform) -> dict[str, float]:
        """Return the scores of speech [S] at 16 kHz by their names."""

    def judge_all(self, clips: Sequence[JudgedAudio]) -> list[dict[str, Any]]:
        """Return the scores of each clip."""
        return [self.score(clip.at_rate()) for clip in clips]


class DistillMOS(MOSPredictor):
    """DistillMOS (Stahl and Gamper, 2025), with the weights of its package."""

    role = "distillmos"

    def __init__(self) -> None:
        """Load the model.

        Raises:
            ModuleNotFoundError: The package is not installed.
        """
        folder = package_folder("distillmos", "distillmos")
        import distillmos

        with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its weights
            self._model = distillmos.ConvTransformerSQAModel().eval()
        self.name = f"distillmos (weights {weights_stamp([*folder.rglob('*.pt')])})"
        self.details = version_of("distillmos")

    @torch.inference_mode()
    def score(self, wav: Waveform) -> dict[str, float]:
        """Return ``distillmos``: naturalness."""
        return {"distillmos": float(self._model(torch.from_numpy(wav)[None]).item())}


class DNSMOS(MOSPredictor):
    """DNSMOS P.835 and P.808 (Reddy et al., 2021 and 2022), with the models of speechmos."""

    role = "dnsmos"

    def __init__(self) -> None:
        """Load the models.

        Raises:
            ModuleNotFoundError: A package is not installed.
        """
        folder = package_folder("speechmos", "speechmos")
        for name in ("onnxruntime", "librosa", "requests"):  # speechmos declares none of them
            package_folder(name, name)
        from speechmos import dnsmos

        self._run = dnsmos.run
        models = [*folder.rglob("dnsmos_models/*.onnx")]
        self.name = f"dnsmos (weights {weights_stamp(models)})"
        self.details = f"{version_of('speechmos')}, {version_of('onnxruntime')}"

    def score(self, wav: Waveform) -> dict[str, float]:
        """Return ``dnsmos_ovrl``, ``dnsmos_sig``, ``dnsmos_bak`` and ``dnsmos_p808``."""
        found = self._run(np.clip(wav, -1.0, 1.0), RATE)
        names = {name: f"{name}_mos" for name in ("ovrl", "sig", "bak", "p808")}
        return {f"dnsmos_{name}": float(found[key]) for name, key in names.items()}


PREDICTORS = {"distillmos": DistillMOS, "dnsmos": DNSMOS}
