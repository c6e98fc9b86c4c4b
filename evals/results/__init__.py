"""From stored replies to tables: scores with their errors, the output folder, and comparisons of two models."""
