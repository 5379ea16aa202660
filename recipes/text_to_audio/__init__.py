"""Sounds from descriptions, on public corpora."""
