"""The paper's own analyses as recipes."""
