"""This machine: its processors, memory, accelerators, load and noise. Asked by the engine and by workers."""
