package android.app;

import android.content.ComponentCallbacks2;
import android.content.Context;
import android.os.Bundle;

/** What the example overrides. */
public class Activity extends Context implements ComponentCallbacks2 {
    protected void onCreate(Bundle savedInstanceState) {}

    protected void onResume() {}

    protected void onDestroy() {}

    @Override
    public void onTrimMemory(int level) {}
}
