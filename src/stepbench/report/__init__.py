"""What people and other programs read: summaries as text, markdown, JSON, CSV, pages and TensorBoard files."""
