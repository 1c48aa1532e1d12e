"""One page a run, a comparison or a gate, which opens from disk without a network."""
