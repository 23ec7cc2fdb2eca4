"""A .tflite flatbuffer: its weights, which of them can nest, reading, inspecting, editing, extracting."""
