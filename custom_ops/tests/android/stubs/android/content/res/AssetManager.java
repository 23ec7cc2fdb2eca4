package android.content.res;

import java.io.FileNotFoundException;
import java.io.IOException;

/** What the library calls; holds nothing, as if every asset were compressed. */
public class AssetManager {
    public AssetFileDescriptor openFd(String name) throws IOException {
        throw new FileNotFoundException("This file can not be opened as a file descriptor; it is probably compressed");
    }
}
