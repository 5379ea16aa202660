"""Corpora of synthesized speech: ``almtok synthesize``.

``texts`` collects what is read, ``grammar`` makes sentences, and ``voices`` are who reads them.
``plan`` draws the readings by their number, ``backends`` speak (``espeak``, ``kokoro``, ``piper``),
``checks`` refuses implausible audio, and ``corpus`` writes the files and the manifest.
"""
