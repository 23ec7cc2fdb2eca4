package org.tensorflow.lite;

import java.nio.ByteBuffer;

/** What the example calls. */
public final class Interpreter implements AutoCloseable {
    /** What the example calls. */
    public static final class Options {
        public Options addDelegate(Delegate delegate) {
            return this;
        }
    }

    public Interpreter(ByteBuffer model, Options options) {}

    public void run(Object input, Object output) {}

    @Override
    public void close() {}
}
