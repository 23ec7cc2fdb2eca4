package org.nqtflite;

/** What a switch did. */
public final class Switch {
    /** Bits before the switch. */
    public final int fromBits;

    /** Bits from the next invocation on. */
    public final int toBits;

    /** Bytes of the residuals that were paged in; 0 where the model cannot page. */
    public final long bytesIn;

    /** Bytes of the residuals that were paged out; 0 where the model cannot page. */
    public final long bytesOut;

    /** How long the call took. */
    public final double seconds;

    /** An invocation was running: the residual is released when it ends, and is not counted in {@link #bytesOut}. */
    public final boolean deferred;

    Switch(int fromBits, int toBits, long bytesIn, long bytesOut, double seconds, boolean deferred) {
        this.fromBits = fromBits;
        this.toBits = toBits;
        this.bytesIn = bytesIn;
        this.bytesOut = bytesOut;
        this.seconds = seconds;
        this.deferred = deferred;
    }
}
