package org.nqtflite;

/** What the library refuses to do; the message says what was expected, what was found and what to do. */
public final class NqException extends RuntimeException {
    /** No such precision or option, or the delegate is closed. */
    public static final int INVALID_ARGUMENT = 1;

    /** No interpreter has been built with the delegate yet, or its model is not nested. */
    public static final int NOT_READY = 2;

    /** The file's bytes are not those that were written; the lower precisions still work. */
    public static final int DATA_LOSS = 3;

    /** The model breaks a rule of the format. */
    public static final int INVALID_MODEL = 4;

    /** The operating system refused. */
    public static final int SYSTEM = 5;

    private static final long serialVersionUID = 1;

    /** One of the constants above. */
    private final int status;

    NqException(int status, String message) {
        super(message);
        this.status = status;
    }

    /** One of the constants of this class. */
    public int status() {
        return status;
    }
}
