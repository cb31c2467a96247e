"""Token ids: shards, packing, counts."""
