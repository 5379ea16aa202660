"""Descriptions of sounds and music, on public corpora."""
