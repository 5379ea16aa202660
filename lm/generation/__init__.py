"""Generation: prompts -> codes and texts. `generate` is the entry point of `AudioLM.generate`."""
