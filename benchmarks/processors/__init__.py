"""What almtok costs on this processor and on a plainer one."""
