"""From raw measurements to estimates and verdicts."""
