"""From raw text to a corpus: found, read, normalised, filtered, scrubbed, deduplicated, divided and mapped into memory, in blocks.

The way through the folder: `options` → `sources` (which files) → `survey` (what each is, where it may be cut) → `read` (documents of a
shard) → `normalise`, `language`, `quality`, `contamination`, `minhash` (whole blocks at once, over code points) → `shard` (all of these,
one shard, written whole or not at all) → `duplicates` and `decide` (across shards) → `store` (the corpus on disk) → `pack` (its
tokens) → `card`. `prepare` joins them.
"""
