"""Real and small models for nq_tflite: builders, weights from package archives, photos, ImageNet class names.

Import from the modules, so that what needs Keras and what does not stay apart:
`from nq_tflite_models.nets.mobilenet_v2 import mobilenet_v2`. See models/README.md.
"""
