"""One language model for speech, sound and music on real data."""
