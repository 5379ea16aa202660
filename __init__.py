"""almtok: ALMTokenizer, open and trainable, and audio language models on its tokens.

Importing this package is cheap: torch and transformers load with the first name that needs them.
"""

__version__ = "0.1.0"
