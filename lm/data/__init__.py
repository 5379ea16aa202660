"""Corpora as shards of tokens: made once by ``almtok tokenize``, read by training."""
