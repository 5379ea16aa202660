"""The mini recipe: a corpus made on the spot, a tiny codec, a report."""

# What `almtok demo` does, in order: the stages of recipe.py.
STEPS = ("corpus", "prior", "stage1", "stage2", "codec", "report")
