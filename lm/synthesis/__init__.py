"""Corpora of synthesized speech: ``almtok synthesize``.

``texts`` collects what is read and ``voices`` who reads it; ``plan`` draws the readings by their
number, ``backends`` speaks them (``espeak``, ``kokoro``), ``checks`` refuses implausible audio, and
``corpus`` writes the files and the manifest.
"""
