"""The child process: builds a case, proves it, times its blocks, takes its traces. Imports TensorFlow."""
