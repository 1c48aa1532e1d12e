"""One file a command: what is asked for, turned into a plan, carried out. The only place that sees all wings."""
