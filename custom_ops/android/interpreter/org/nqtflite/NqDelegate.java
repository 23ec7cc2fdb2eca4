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
 * <p>A delegate serves one interpreter. For LiteRT up to 1.4 and for TFLite: later packages of LiteRT have no delegates.
 */
public final class NqDelegate extends NqSession implements Delegate {
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
        try {
            delegate = Native.createDelegate(openSession(), start.toString(), fuse ? "auto" : "0");
        } catch (NqException error) {
            super.close();
            throw error;
        }
    }

    /** The TfLiteDelegate, for the interpreter. */
    @Override
    public synchronized long getNativeHandle() {
        openSession();
        return delegate;
    }

    /** Frees the delegate. The interpreter must be closed before; closing again does nothing. */
    @Override
    public synchronized void close() {
        if (delegate != 0) {
            Native.destroyDelegate(delegate);
            delegate = 0;
        }
        super.close();
    }
}
