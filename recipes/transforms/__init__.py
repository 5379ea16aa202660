"""Corpus transforms: programs that make training corpora from recordings, texts or token shards."""
