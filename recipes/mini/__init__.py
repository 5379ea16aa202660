"""The mini recipe: a corpus made on the spot, a tiny codec, a report."""

# What `almtok demo` does, in order.
STEPS = ("corpus", "configs", "prior", "stage1", "stage2", "codec", "report")
