"""almtok.lm."""
