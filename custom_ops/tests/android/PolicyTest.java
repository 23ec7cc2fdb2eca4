package org.nqtflite.example;

import android.content.ComponentCallbacks2;
import org.nqtflite.Precision;

/** The example's policy, on a host's JVM. */
public final class PolicyTest {
    private PolicyTest() {}

    /** Fails at the first step that is not as it should be. */
    public static void main(String[] arguments) {
        PrecisionPolicy policy = new PrecisionPolicy();
        same(Precision.FULL, policy.resumed());
        same(Precision.FULL, policy.trimMemory(ComponentCallbacks2.TRIM_MEMORY_RUNNING_MODERATE));
        same(Precision.PART, policy.trimMemory(ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW));
        same(Precision.PART, policy.batterySaver(true));
        same(Precision.PART, policy.resumed());
        same(Precision.FULL, policy.batterySaver(false));
        same(Precision.PART, policy.trimMemory(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN));
        same(Precision.FULL, policy.resumed());
        System.out.println("8 checks passed");
    }

    private static void same(Precision wanted, Precision found) {
        if (wanted != found) {
            throw new AssertionError("expected " + wanted + ", found " + found);
        }
    }
}
