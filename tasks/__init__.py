"""almtok.tasks."""
