"""stepbench: measure, judge and explain TensorFlow training steps.

Importing the package loads neither TensorFlow nor NumPy.
"""

from stepbench.errors import StepbenchError
from stepbench.training.variants import variant
from stepbench.training.workload import Dataset, DataSource, Workload

__version__ = "0.1.0"
__all__ = ["DataSource", "Dataset", "StepbenchError", "Workload", "variant"]
