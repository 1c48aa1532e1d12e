"""The training step: data, workloads, the one step, the variants that wrap it, and the loop."""
