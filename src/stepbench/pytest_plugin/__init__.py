"""Cases as pytest tests: ``pytest bench/`` measures them, ``--stepbench-gate`` judges them."""
