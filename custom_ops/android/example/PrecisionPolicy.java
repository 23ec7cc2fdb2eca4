package org.nqtflite.example;

import android.content.ComponentCallbacks2;
import org.nqtflite.Precision;

/** When the app runs part-bit: while it saves battery, and from when memory gets short until it comes to the front. */
final class PrecisionPolicy {
    private boolean memoryIsShort;
    private boolean savesBattery;

    /** The system's battery saver has been switched on or off. */
    Precision batterySaver(boolean on) {
        savesBattery = on;
        return precision();
    }

    /** The system asks for memory, or says that the app can no longer be seen, which is all it says from Android 14 on. */
    Precision trimMemory(int level) {
        if (level >= ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW) {
            memoryIsShort = true;
        }
        return precision();
    }

    /** The user is back. */
    Precision resumed() {
        memoryIsShort = false;
        return precision();
    }

    private Precision precision() {
        return memoryIsShort || savesBattery ? Precision.PART : Precision.FULL;
    }
}
