"""Benchmarks that users bring: from TOML files, from Python files, and from packages that are installed."""
