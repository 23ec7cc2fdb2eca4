package android.content;

/** What the example calls. */
public class IntentFilter {
    public IntentFilter(String action) {}
}
