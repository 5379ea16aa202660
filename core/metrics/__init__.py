"""almtok.core.metrics."""
