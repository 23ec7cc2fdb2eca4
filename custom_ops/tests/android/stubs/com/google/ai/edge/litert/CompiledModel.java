package com.google.ai.edge.litert;

import java.util.List;

/** A stub of LiteRT's Kotlin class. */
public final class CompiledModel implements AutoCloseable {
    /** Where a model may run. */
    public static final class Options {
        public Options(Accelerator... accelerators) {}
    }

    private CompiledModel() {}

    public static CompiledModel create(String filePath, Options options, Environment environment) {
        return new CompiledModel();
    }

    public List<TensorBuffer> createInputBuffers() {
        return List.of();
    }

    public List<TensorBuffer> createOutputBuffers() {
        return List.of();
    }

    public void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs) {}

    @Override
    public void close() {}
}
