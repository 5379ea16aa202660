"""almtok.tasks.pipelines."""
