"""almtok.lm.generation."""
