"""The mini recipe: corpora made on the spot, a tiny codec, a small language model, a report."""

# What `almtok demo` does, in order: the stages of recipe.py.
STEPS = (
    *("example", "corpus", "prior", "stage1", "stage2", "codec", "reconstruction"),
    *("language-corpus", "tokens", "lm", "scores"),
    *("voice", "voice-tokens", "voice-held-out", "adapter", "comparison", "report"),
)
