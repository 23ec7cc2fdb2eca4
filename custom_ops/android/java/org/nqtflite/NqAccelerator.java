package org.nqtflite;

import java.util.concurrent.Callable;

/**
 * Runs a nested model in LiteRT's CompiledModel, and switches its precision while it runs.
 *
 * <pre>{@code
 * Environment environment = Environment.create(Map.of(Option.SystemGpuAcceleratorHandle, NqAccelerator.handle()));
 * NqAccelerator nested = new NqAccelerator(Precision.PART, 2);
 * CompiledModel model = nested.compile(() -> CompiledModel.create(path, CompiledModel.Options.CPU, environment));
 * model.run(inputs, outputs);           // part-bit
 * nested.setPrecision(Precision.FULL);  // pages the residual in; effective at the next run
 * model.close();                        // first the model,
 * nested.close();                       // then this
 * }</pre>
 *
 * <p>One serves one model, an environment any number of them. LiteRT's classes are not named here: this compiles with
 * every version of LiteRT, and without it. README.md says which versions take an accelerator, and how.
 */
public final class NqAccelerator extends NqSession {
    private final Precision start;
    private final int numThreads;
    private final boolean fuse;

    /**
     * A model that starts at a precision.
     *
     * @param start what the first run uses; with {@link Precision#PART} the residual is not even read
     * @param numThreads that the model's layers share; what LiteRT's CpuOptions say is for its own kernels
     */
    public NqAccelerator(Precision start, int numThreads) {
        this(start, numThreads, true);
    }

    /**
     * A model with a choice of kernels.
     *
     * @param fuse whether to compute on packed weights where the CPU has vector instructions for it; otherwise every
     *     weight is unpacked for the runtime's own kernels
     */
    public NqAccelerator(Precision start, int numThreads, boolean fuse) {
        this.start = start;
        this.numThreads = numThreads;
        this.fuse = fuse;
    }

    /** What an environment's option SystemGpuAcceleratorHandle takes: the first accelerator, for the CPU in truth. */
    public static String handle() {
        return Long.toString(Native.acceleratorHandle());
    }

    /**
     * Compiles the model.
     *
     * @param create calls CompiledModel.create, on this thread, with an environment that has the accelerator
     * @return what it returns
     * @throws NqException if this library refuses the model or an option, with LiteRT's own exception as its cause
     * @throws Exception what `create` throws of itself
     */
    public <T> T compile(Callable<T> create) throws Exception {
        Native.setAcceleratorOptions(openSession(), start.toString(), fuse ? "auto" : "0", Integer.toString(numThreads));
        try {
            return create.call();
        } catch (Exception error) {
            String reason = Native.lastError();
            if (reason.isEmpty()) {
                throw error;
            }
            NqException refusal = new NqException(NqException.INVALID_MODEL, reason);
            refusal.initCause(error);
            throw refusal;
        } finally {
            Native.clearAcceleratorOptions();
        }
    }
}
