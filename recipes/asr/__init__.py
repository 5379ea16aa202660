"""Speech recognition on public corpora."""
