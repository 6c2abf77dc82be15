"""The packed store: structures and labels in memory-mapped shards."""
