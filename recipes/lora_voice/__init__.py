"""A new voice for a trained language model, from a few recordings."""
