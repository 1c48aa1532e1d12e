"""The parent process: worker processes, the rounds that interleave them, pairs of revisions, worktrees."""
