// libLiteRtGpuAccelerator.so, the name by which LiteRT 2.2 looks for an accelerator among an app's libraries. It has
// nothing of its own: it needs libnq_tflite.so, and there the loader finds LiteRtAcceleratorImpl.
