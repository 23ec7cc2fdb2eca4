package com.google.ai.edge.litert;

/** A stub of LiteRT's Kotlin enum. */
public enum Accelerator {
    NONE,
    CPU,
    GPU,
    NPU
}
