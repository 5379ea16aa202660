"""almtok.core.report."""
