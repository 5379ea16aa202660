"""Metrics of audio, and confidence intervals."""
