"""almtok.codec.evaluation."""
