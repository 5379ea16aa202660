"""Text on its way to a language model: written out, split into sentences, turned into ids.

Modules: `normalize` (what is written, as it is spoken), `sentences` (parts short enough to speak
in one go), `tokenizer` (SentencePiece with byte fallback, as a Hugging Face tokenizer).
"""
