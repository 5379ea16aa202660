"""The page in a browser: `almtok ui`."""
