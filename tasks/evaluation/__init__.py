"""almtok.tasks.evaluation."""
