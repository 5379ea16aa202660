"""almtok.tasks.commands."""
