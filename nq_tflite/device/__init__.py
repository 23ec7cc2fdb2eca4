"""Running a model on a device: native library, runtimes, Interpreter, CompiledModel; needs NumPy and a runtime."""
