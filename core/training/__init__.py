"""almtok.core.training."""
