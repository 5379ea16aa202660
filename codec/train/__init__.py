"""almtok.codec.train."""
