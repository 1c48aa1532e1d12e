"""stepbench: measure, judge and explain TensorFlow training steps.

Importing the package loads neither TensorFlow nor NumPy.
"""

from stepbench.errors import StepbenchError
from stepbench.training.executions import variant
from stepbench.training.workload import Built, Dataset, DataSource, Training, Workload

__version__ = "0.1.0"
__all__ = ["Built", "DataSource", "Dataset", "StepbenchError", "Training", "Workload", "variant"]
