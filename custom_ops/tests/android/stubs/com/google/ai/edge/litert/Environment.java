package com.google.ai.edge.litert;

import java.util.Map;

/** A stub of LiteRT's Kotlin class, as Java sees it: the option's versions are in custom_ops/android/README.md. */
public final class Environment implements AutoCloseable {
    /** What an environment is told. */
    public enum Option {
        CompilerPluginLibraryDir,
        DispatchLibraryDir,
        SystemGpuAcceleratorHandle
    }

    private Environment() {}

    public static Environment create(Map<Option, String> options) {
        return new Environment();
    }

    @Override
    public void close() {}
}
