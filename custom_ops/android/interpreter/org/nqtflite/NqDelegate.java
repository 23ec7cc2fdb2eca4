package org.nqtflite;

import org.tensorflow.lite.Delegate;

/**
 * Runs nested models in TFLite's Interpreter, and switches their precision while they run.
 *
 * <pre>{@code
 * NqDelegate nested = new NqDelegate(Precision.PART);
 * Interpreter.Options options = new Interpreter.Options().addDelegate(nested);
 * Interpreter interpreter = new Interpreter(NestedAsset.map(getAssets(), "model.tflite"), options);
 * interpreter.run(input, output);       // part-bit
 * nested.setPrecision(Precision.FULL);  // pages the residual in; effective at the next run
 * interpreter.close();                  // first the interpreter,
 * nested.close();                       // then its delegate
 * }</pre>
 *
 * <p>A delegate serves one interpreter. Every method may be called from any thread, also while the interpreter runs;
 * an invocation runs wholly at one precision.
 */
public final class NqDelegate implements Delegate {
    private final long session;
    private long delegate;

    /** A delegate that starts at full-bit. */
    public NqDelegate() {
        this(Precision.FULL);
    }

    /**
     * A delegate that starts at a precision.
     *
     * @param start what the first invocation uses; with {@link Precision#PART} the residual is not even read
     */
    public NqDelegate(Precision start) {
        this(start, true);
    }

    /**
     * A delegate with a choice of kernels.
     *
     * @param start what the first invocation uses
     * @param fuse whether to compute on packed weights where the CPU has vector instructions for it; otherwise every
     *     weight is unpacked for the runtime's own kernels
     */
    public NqDelegate(Precision start, boolean fuse) {
        session = Native.openSession();
        try {
            delegate = Native.createDelegate(session, start.toString(), fuse ? "auto" : "0");
        } catch (NqException error) {
            Native.closeSession(session);
            throw error;
        }
    }

    /** The native library's version. */
    public static String version() {
        return Native.version();
    }

    /** The TfLiteDelegate, for the interpreter. */
    @Override
    public synchronized long getNativeHandle() {
        requireOpen();
        return delegate;
    }

    /**
     * Bits of the model's precisions, part-bit first; empty for a stock model.
     *
     * @throws NqException if no interpreter has been built with this delegate yet
     */
    public int[] precisions() {
        return Native.precisions(openSession());
    }

    /**
     * Bits that the next invocation uses.
     *
     * @throws NqException if no interpreter has been built with this delegate yet, or its model is not nested
     */
    public int getPrecision() {
        long open = openSession();
        return Native.precisions(open)[Native.getLevel(open)];
    }

    /**
     * Switches, from the next invocation on.
     *
     * @throws NqException if the model has no such precision, or the residual's checksum is wrong; the model then keeps
     *     the precision it had
     */
    public Switch setPrecision(Precision precision) {
        return setPrecision(precision, false);
    }

    /**
     * Switches, from the next invocation on.
     *
     * @param dropPageCache on a downgrade, also ask the system to forget the file's cached pages
     * @throws NqException as {@link #setPrecision(Precision)} does, or if the file cannot be opened again
     */
    public Switch setPrecision(Precision precision, boolean dropPageCache) {
        long open = openSession();
        return Native.setLevel(open, precision.levelIn(Native.precisions(open)), dropPageCache);
    }

    /** Bytes of all levels that this process holds in memory. */
    public long residentBytes() {
        long open = openSession();
        long sum = 0;
        for (int level = Native.precisions(open).length - 1; level >= 0; --level) {
            sum += Native.residentBytes(open, level);
        }
        return sum;
    }

    /** Bytes of a level that this process holds in memory; level 0 is the part-bit base. */
    public long residentBytes(int level) {
        return Native.residentBytes(openSession(), level);
    }

    /** Bytes of a level in the file; level 0 is the part-bit base. */
    public long levelBytes(int level) {
        return Native.levelBytes(openSession(), level);
    }

    /** Whether a switch gives memory back: the model's buffer must be a read-only mapping of a file. */
    public boolean canPage() {
        return Native.canPage(openSession());
    }

    /** To be called when the interpreter's run has thrown: a residual that it still held is released. */
    public void invocationFailed() {
        Native.invocationFailed(openSession());
    }

    /** Frees the delegate. The interpreter must be closed before; closing again does nothing. */
    @Override
    public synchronized void close() {
        if (delegate == 0) {
            return;
        }
        Native.destroyDelegate(delegate);
        Native.closeSession(session);
        delegate = 0;
    }

    private synchronized long openSession() {
        requireOpen();
        return session;
    }

    private void requireOpen() {
        if (delegate == 0) {
            throw new NqException(NqException.INVALID_ARGUMENT, "the delegate is closed; create another one");
        }
    }
}
