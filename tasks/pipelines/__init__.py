"""Pipelines: a loaded model applied to texts and audio of any length."""
