"""Evaluation of codecs on recordings, beside other codecs."""
