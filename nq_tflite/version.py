"""The version, in one place: pyproject.toml, CMake and the native library read it from here."""

__version__ = "0.1.0"
