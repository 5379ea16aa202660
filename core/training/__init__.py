"""Training loop, optimisers, checkpoints and run folders."""
