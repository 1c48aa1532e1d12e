"""The page's figures, one idea a file; the same code draws those for README and slides."""
