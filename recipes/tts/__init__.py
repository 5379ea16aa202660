"""Text to speech on public corpora."""
