"""One summary, shown as text, markdown, JSON and CSV."""
