"""Judges: pretrained models that evaluate audio, independent of the models under evaluation."""
