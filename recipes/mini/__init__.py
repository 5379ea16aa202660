"""almtok.recipes.mini."""
