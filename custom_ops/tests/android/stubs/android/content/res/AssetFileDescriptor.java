package android.content.res;

import java.io.Closeable;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.RandomAccessFile;

/** A part of a file; what the library calls, and a constructor that Android's class has not. */
public class AssetFileDescriptor implements Closeable {
    private final RandomAccessFile file;
    private final long startOffset;
    private final long length;

    public AssetFileDescriptor(RandomAccessFile file, long startOffset, long length) {
        this.file = file;
        this.startOffset = startOffset;
        this.length = length;
    }

    public FileDescriptor getFileDescriptor() throws IOException {
        return file.getFD();
    }

    public long getStartOffset() {
        return startOffset;
    }

    public long getDeclaredLength() {
        return length;
    }

    @Override
    public void close() throws IOException {
        file.close();
    }
}
