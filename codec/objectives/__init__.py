"""almtok.codec.objectives."""
