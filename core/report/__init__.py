"""HTML reports with figures."""
