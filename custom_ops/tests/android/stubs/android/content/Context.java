package android.content;

import android.content.res.AssetManager;

/** What the example calls. */
public class Context {
    public AssetManager getAssets() {
        return new AssetManager();
    }

    public <T> T getSystemService(Class<T> type) {
        return null;
    }

    public Intent registerReceiver(BroadcastReceiver receiver, IntentFilter filter) {
        return null;
    }

    public void unregisterReceiver(BroadcastReceiver receiver) {}
}
