"""The one exception that reaches a user: a sentence that says what is wrong and what to do."""


class StepbenchError(Exception):
    """Wrong use, or nothing could be measured. The command line prints it and exits with code 2."""
