package android.content;

/** What the example overrides. */
public abstract class BroadcastReceiver {
    public abstract void onReceive(Context context, Intent intent);
}
