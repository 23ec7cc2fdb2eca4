package org.nqtflite.example;

import android.app.Activity;
import android.content.BroadcastReceiver;
import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.Bundle;
import android.os.PowerManager;
import android.util.Log;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.nqtflite.NestedAsset;
import org.nqtflite.NqDelegate;
import org.nqtflite.NqException;
import org.nqtflite.Precision;
import org.nqtflite.Switch;
import org.tensorflow.lite.Interpreter;

/** Classifies frames with a nested model from the app's assets; part-bit while memory or battery are short. */
public final class ClassifierActivity extends Activity {
    private static final String TAG = "ClassifierActivity";
    private static final String MODEL = "model.tflite";

    private final PrecisionPolicy policy = new PrecisionPolicy();

    private final BroadcastReceiver batterySaver =
            new BroadcastReceiver() {
                @Override
                public void onReceive(Context context, Intent intent) {
                    use(policy.batterySaver(isPowerSaveMode()));
                }
            };

    private NqDelegate nested;
    private Interpreter interpreter;

    @Override
    protected void onCreate(Bundle savedInstanceState) {
        super.onCreate(savedInstanceState);
        // Part-bit first: the residual is not read before it is wanted.
        nested = new NqDelegate(Precision.PART);
        try {
            interpreter =
                    new Interpreter(NestedAsset.map(getAssets(), MODEL), new Interpreter.Options().addDelegate(nested));
        } catch (IOException error) {
            nested.close();
            throw new IllegalStateException("the app was built without its model", error);
        }
        registerReceiver(batterySaver, new IntentFilter(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED));
        use(policy.batterySaver(isPowerSaveMode()));
    }

    @Override
    protected void onResume() {
        super.onResume();
        use(policy.resumed());
    }

    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        use(policy.trimMemory(level));
    }

    @Override
    protected void onDestroy() {
        unregisterReceiver(batterySaver);
        interpreter.close(); // before its delegate
        nested.close();
        super.onDestroy();
    }

    /** Scores of a frame; for one thread, of the camera's frames for example. Switches come from the main thread. */
    void classify(ByteBuffer frame, ByteBuffer scores) {
        interpreter.run(frame, scores);
    }

    private boolean isPowerSaveMode() {
        return getSystemService(PowerManager.class).isPowerSaveMode();
    }

    private void use(Precision precision) {
        try {
            Switch done = nested.setPrecision(precision);
            if (done.fromBits != done.toBits) {
                Log.i(TAG, done.fromBits + " to " + done.toBits + " bits, " + nested.residentBytes() + " bytes resident");
            }
        } catch (NqException error) {
            Log.w(TAG, "stays at " + nested.getPrecision() + " bits", error);
        }
    }
}
