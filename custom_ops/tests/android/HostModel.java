package org.nqtflite;

import java.nio.ByteBuffer;

/** A nested file of the native tests, loaded by their fake of a runtime from a buffer, as TFLite's Interpreter does. */
final class HostModel implements AutoCloseable {
    static {
        System.loadLibrary("nq_host_model");
    }

    private final ByteBuffer model; // stays mapped as long as this lives
    private final long handle;

    /** Loads the model that the buffer maps, with a delegate; throws IllegalStateException with the runtime's errors. */
    HostModel(ByteBuffer model, long delegate) {
        this.model = model;
        handle = open(model, delegate);
    }

    /** Compiles it as LiteRT does, with a delegate that an accelerator gives: what is thrown says no more. */
    HostModel(ByteBuffer model, String accelerator) {
        this(model, ask(Long.parseLong(accelerator)));
    }

    /** The file's bytes: 8|6|4, three weights. */
    static native byte[] file();

    /** All weights, unpacked by an invocation. */
    byte[] run() {
        return run(handle);
    }

    /** What they should be at a level, by the naive reference. */
    static native byte[] expected(int level);

    /** Bytes of each section of the file, part-bit first. */
    static native long[] sections();

    @Override
    public void close() {
        close(handle);
        release();
    }

    private static native long open(ByteBuffer model, long delegate);

    private static native byte[] run(long handle);

    private static native void close(long handle);

    private static native long ask(long accelerator);

    private static native void release();
}
