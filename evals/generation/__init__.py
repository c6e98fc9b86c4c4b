"""Replies of a model to items: which are missing, in what batches, by how many replicas, and one replica's work."""
