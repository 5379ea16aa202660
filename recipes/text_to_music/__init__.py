"""Music from descriptions, on public corpora."""
