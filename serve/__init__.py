"""The HTTP server and the page, thin over the pipelines of `tasks`."""
