"""From shards to batches: readers, order, encoding and the stream."""
