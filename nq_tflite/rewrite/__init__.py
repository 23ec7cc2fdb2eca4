"""Edits of a TFLite graph: one a file, one function each. All of them change the model they are given."""

from nq_tflite.rewrite.insert_unpack import insert_unpack
from nq_tflite.rewrite.prune import prune
from nq_tflite.rewrite.remove_unpack import remove_unpack
from nq_tflite.rewrite.replace_weights import replace_weights

__all__ = ["insert_unpack", "prune", "remove_unpack", "replace_weights"]
