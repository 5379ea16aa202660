"""Ablations of the codec at equal cost."""
