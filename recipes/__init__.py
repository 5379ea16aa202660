"""almtok.recipes."""
