"""Losses of codec training; each has the same name in config, log and checkpoint.

:data:`LOSSES` lists them with their default weights. Losses on the waveform (`time`, `mel`,
`recognition`, `adversarial`, `feature_matching`) are weighted by the
:class:`~almtok.codec.losses.balancer.Balancer`; losses on inner tensors are added with their
weights. Importing this package does not load torch; the modules with the implementations do.
"""

from .registry import LOSSES, LossSpec

__all__ = ["LOSSES", "LossSpec"]
