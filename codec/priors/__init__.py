"""almtok.codec.priors."""
