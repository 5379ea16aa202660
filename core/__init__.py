"""Shared by the codec, the language model, the tasks and the recipes."""
