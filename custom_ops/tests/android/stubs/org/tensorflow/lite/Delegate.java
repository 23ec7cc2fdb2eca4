package org.tensorflow.lite;

import java.io.Closeable;

/** What LiteRT's interface of this name declares, and nothing else. */
public interface Delegate extends Closeable {
    long getNativeHandle();

    @Override
    default void close() {}
}
