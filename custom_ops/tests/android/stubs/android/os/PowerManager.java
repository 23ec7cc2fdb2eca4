package android.os;

/** What the example calls. */
public class PowerManager {
    public static final String ACTION_POWER_SAVE_MODE_CHANGED = "android.os.action.POWER_SAVE_MODE_CHANGED";

    public boolean isPowerSaveMode() {
        return false;
    }
}
