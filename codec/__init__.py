"""The codec: waveform to codes and back."""
