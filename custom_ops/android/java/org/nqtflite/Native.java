package org.nqtflite;

/** The native library's functions; custom_ops/include/nq.h says what each of them does. */
final class Native {
    static {
        System.loadLibrary("nq_tflite_jni");
    }

    private Native() {}

    static native String version();

    static native long openSession();

    static native void closeSession(long session);

    static native long createDelegate(long session, String precision, String fuse);

    static native void destroyDelegate(long delegate);

    static native long acceleratorHandle();

    static native void setAcceleratorOptions(long session, String precision, String fuse, String numThreads);

    static native void clearAcceleratorOptions();

    static native String lastError();

    static native int[] precisions(long session);

    static native int getLevel(long session);

    static native Switch setLevel(long session, int level, boolean dropPageCache);

    static native long levelBytes(long session, int level);

    static native long residentBytes(long session, int level);

    static native boolean canPage(long session);

    static native void invocationFailed(long session);
}
