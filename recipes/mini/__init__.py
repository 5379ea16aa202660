"""The mini recipe: corpora made on the spot, a tiny codec, a small language model, a report."""

# What `almtok demo` does, in order: the stages of recipe.py.
STEPS = (
    *("hello", "corpus", "prior", "stage1", "stage2", "codec", "there-and-back"),
    *("lessons", "tokens", "lm", "scores"),
    *("voice", "voice-tokens", "voice-held-out", "adapter", "judged", "report"),
)
