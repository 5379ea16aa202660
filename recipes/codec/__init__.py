"""almtok.recipes.codec."""
