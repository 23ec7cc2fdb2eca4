package org.nqtflite;

/**
 * A nested model's precisions and memory, whatever runs it.
 *
 * <p>Every method may be called from any thread, also while the model runs; an invocation runs wholly at one precision.
 */
public abstract class NqSession implements AutoCloseable {
    private final long session = Native.openSession();
    private boolean open = true;

    NqSession() {}

    /** The native library's version. */
    public static String version() {
        return Native.version();
    }

    /**
     * Bits of the model's precisions, part-bit first; empty for a stock model.
     *
     * @throws NqException if no model has been built yet
     */
    public int[] precisions() {
        return Native.precisions(openSession());
    }

    /**
     * Bits that the next invocation uses.
     *
     * @throws NqException if no model has been built yet, or its model is not nested
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

    /** To be called when a run has thrown: a residual that it still held is released. */
    public void invocationFailed() {
        Native.invocationFailed(openSession());
    }

    /** Forgets the session; closing again does nothing. */
    @Override
    public synchronized void close() {
        if (open) {
            open = false;
            Native.closeSession(session);
        }
    }

    /** The session's handle, which must be open. */
    synchronized long openSession() {
        if (!open) {
            throw new NqException(NqException.INVALID_ARGUMENT, "it is closed; create another one");
        }
        return session;
    }
}
