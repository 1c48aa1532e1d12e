"""The exceptions that reach a user: a sentence that says what is wrong and what to do."""


class StepbenchError(Exception):
    """Wrong use, or nothing could be measured. The command line prints it and exits with :attr:`exit_code`."""

    exit_code = 2


class InterruptedRunError(StepbenchError):
    """The user stopped a run; what was measured is kept."""

    exit_code = 130


class NotApplicableError(StepbenchError):
    """What is asked for means nothing for this workload, and no fault of anyone."""
