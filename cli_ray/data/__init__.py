"""From shards to batches: sources and their readers, the order, encoding and the stream."""
