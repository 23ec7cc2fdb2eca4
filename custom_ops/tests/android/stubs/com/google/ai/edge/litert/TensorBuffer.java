package com.google.ai.edge.litert;

/** A stub of LiteRT's Kotlin class. */
public final class TensorBuffer implements AutoCloseable {
    private TensorBuffer() {}

    public void writeInt8(byte[] data) {}

    public byte[] readInt8() {
        return new byte[0];
    }

    @Override
    public void close() {}
}
