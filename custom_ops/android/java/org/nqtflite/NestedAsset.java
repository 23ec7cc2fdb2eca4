package org.nqtflite;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

/** Models as an app brings them: stored uncompressed in its package, and mapped from there. */
public final class NestedAsset {
    private NestedAsset() {}

    /**
     * Maps an asset, so that a switch of precision really gives memory back; nothing is copied.
     *
     * @throws IOException if there is no such asset, or the package holds it compressed
     */
    public static MappedByteBuffer map(AssetManager assets, String name) throws IOException {
        try (AssetFileDescriptor asset = assets.openFd(name)) {
            return map(asset);
        } catch (FileNotFoundException error) {
            String advice = "if it is there, it is compressed: add androidResources { noCompress += 'tflite' } to the build";
            throw new IOException("asset " + name + " cannot be mapped; " + advice, error);
        }
    }

    /** Maps an asset that is open already; the mapping outlives the descriptor. */
    public static MappedByteBuffer map(AssetFileDescriptor asset) throws IOException {
        try (FileInputStream file = new FileInputStream(asset.getFileDescriptor());
                FileChannel channel = file.getChannel()) {
            return channel.map(FileChannel.MapMode.READ_ONLY, asset.getStartOffset(), asset.getDeclaredLength());
        }
    }
}
