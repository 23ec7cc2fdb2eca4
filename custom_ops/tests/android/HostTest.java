package org.nqtflite;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** The Java classes over the native library, on a host's JVM. Prints how many checks passed; fails at the first other. */
public final class HostTest {
    private static final int PAGE = 4096;
    private static final int[] BITS = {4, 6, 8};

    private static int checks;

    private HostTest() {}

    /** Writes into the folder that is the only argument. */
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        for (int offset : new int[] {0, 4, 8188, 20_480, 65_532}) {
            switchesAndPages(store(folder.resolve("app" + offset + ".apk"), offset), offset);
        }
        startsWhereItIsAskedTo(folder);
        refusesWhatItCannotDo(folder);
        saysWhenTheFileIsDamaged(folder);
        compilesAsAnAccelerator(folder);
        saysWhyItDoesNotCompile(folder);
        saysWhenAnAssetIsCompressed();
        System.out.println(checks + " checks passed");
    }

    /** The model inside a package, where Android's tools put it: uncompressed, at a multiple of 4 bytes. */
    private static AssetFileDescriptor store(Path archive, int offset) throws IOException {
        return store(archive, offset, HostModel.file());
    }

    private static AssetFileDescriptor store(Path archive, int offset, byte[] model) throws IOException {
        byte[] bytes = new byte[offset + model.length + 5000];
        Arrays.fill(bytes, (byte) 0x5A);
        System.arraycopy(model, 0, bytes, offset, model.length);
        Files.write(archive, bytes);
        return new AssetFileDescriptor(new RandomAccessFile(archive.toFile(), "r"), offset, model.length);
    }

    private static void switchesAndPages(AssetFileDescriptor asset, int offset) throws IOException {
        ByteBuffer buffer = NestedAsset.map(asset);
        long[] sections = HostModel.sections();
        try (NqDelegate nested = new NqDelegate();
                HostModel model = new HostModel(buffer, nested.getNativeHandle())) {
            check(nested.canPage());
            check(Arrays.equals(BITS, nested.precisions()));
            check(nested.getPrecision() == 8);
            check(Arrays.equals(HostModel.expected(2), model.run()));
            check(nested.residentBytes() == Arrays.stream(sections).sum());

            Switch down = nested.setPrecision(Precision.PART);
            check(down.fromBits == 8 && down.toBits == 4 && !down.deferred && down.seconds > 0);
            check(down.bytesIn == 0 && down.bytesOut == sections[1] + sections[2]);
            check(nested.getPrecision() == 4);
            check(Arrays.equals(HostModel.expected(0), model.run()));
            check(nested.levelBytes(0) == sections[0] && nested.residentBytes(0) == sections[0]);
            for (int level = 1; level <= 2; ++level) {
                long kept = nested.residentBytes(level);
                check(offset % PAGE == 0 ? kept == 0 : kept < PAGE);
            }

            Switch up = nested.setPrecision(Precision.ofBits(6), true);
            check(up.fromBits == 4 && up.toBits == 6 && up.bytesIn == sections[1] && up.bytesOut == 0);
            check(Arrays.equals(HostModel.expected(1), model.run()));
            nested.invocationFailed();
            check(nested.setPrecision(Precision.FULL, false).bytesIn == sections[2]);
            check(Arrays.equals(HostModel.expected(2), model.run()));
        }
    }

    private static void startsWhereItIsAskedTo(Path folder) throws IOException {
        ByteBuffer buffer = NestedAsset.map(store(folder.resolve("start.apk"), 4));
        for (boolean fuse : new boolean[] {true, false}) {
            try (NqDelegate nested = new NqDelegate(Precision.PART, fuse);
                    HostModel model = new HostModel(buffer, nested.getNativeHandle())) {
                check(nested.getPrecision() == 4);
                check(Arrays.equals(HostModel.expected(0), model.run()));
            }
        }
        // Without a file there is nothing to page, and precision switches all the same.
        byte[] file = HostModel.file();
        ByteBuffer copy = ByteBuffer.allocateDirect(file.length).put(file);
        try (NqDelegate nested = new NqDelegate(Precision.PART);
                HostModel model = new HostModel(copy, nested.getNativeHandle())) {
            check(!nested.canPage());
            check(nested.setPrecision(Precision.FULL).bytesIn == 0);
            check(Arrays.equals(HostModel.expected(2), model.run()));
        }
    }

    private static void refusesWhatItCannotDo(Path folder) throws IOException {
        ByteBuffer buffer = NestedAsset.map(store(folder.resolve("refused.apk"), 4));
        NqDelegate nested = new NqDelegate();
        refused(NqException.NOT_READY, "no nested model", nested::getPrecision);
        refused(NqException.NOT_READY, "no nested model", nested::residentBytes);
        refused(NqException.NOT_READY, "no nested model", () -> nested.setPrecision(Precision.PART));
        try (HostModel model = new HostModel(buffer, nested.getNativeHandle())) {
            refused(NqException.INVALID_ARGUMENT, "[4, 6, 8]", () -> nested.setPrecision(Precision.ofBits(5)));
            refused(NqException.INVALID_ARGUMENT, "level 3", () -> nested.residentBytes(3));
            check(nested.getPrecision() == 8);
            model.run();
        }
        nested.close();
        nested.close();
        refused(NqException.INVALID_ARGUMENT, "closed", nested::getNativeHandle);
        refused(NqException.INVALID_ARGUMENT, "closed", nested::residentBytes);
        refused(NqException.INVALID_ARGUMENT, "closed", () -> nested.setPrecision(Precision.FULL));
        check(!NqDelegate.version().isEmpty());
        try {
            Precision.ofBits(9);
            check(false);
        } catch (IllegalArgumentException error) {
            check(error.getMessage().contains("2 to 8"));
        }
    }

    /** A damaged residual refuses to be paged in; part-bit goes on. */
    private static void saysWhenTheFileIsDamaged(Path folder) throws IOException {
        byte[] bytes = HostModel.file();
        bytes[bytes.length - 1] ^= 1;
        ByteBuffer buffer = NestedAsset.map(store(folder.resolve("damaged.apk"), 4, bytes));
        try (NqDelegate nested = new NqDelegate(Precision.PART);
                HostModel model = new HostModel(buffer, nested.getNativeHandle())) {
            refused(NqException.DATA_LOSS, "checksum of level 2", () -> nested.setPrecision(Precision.FULL));
            check(nested.getPrecision() == 4);
            check(Arrays.equals(HostModel.expected(0), model.run()));
            nested.setPrecision(Precision.ofBits(6));
            check(Arrays.equals(HostModel.expected(1), model.run()));
        }
    }

    /** LiteRT's CompiledModel: options by thread, a session each, and precisions as under an interpreter. */
    private static void compilesAsAnAccelerator(Path folder) throws Exception {
        ByteBuffer buffer = NestedAsset.map(store(folder.resolve("compiled.apk"), 0));
        for (boolean fuse : new boolean[] {true, false}) {
            NqAccelerator nested = new NqAccelerator(Precision.PART, 2, fuse);
            try (HostModel model = nested.compile(() -> new HostModel(buffer, NqAccelerator.handle()))) {
                check(nested.getPrecision() == 4 && nested.canPage());
                check(Arrays.equals(HostModel.expected(0), model.run()));
                check(nested.setPrecision(Precision.FULL).bytesIn > 0);
                check(Arrays.equals(HostModel.expected(2), model.run()));
            }
            nested.close();
            nested.close();
            refused(NqException.INVALID_ARGUMENT, "closed", nested::getPrecision);
        }
        // A model that is compiled outside has a session of nobody's, and starts at full-bit.
        NqAccelerator other = new NqAccelerator(Precision.PART, 1);
        try (HostModel model = new HostModel(buffer, NqAccelerator.handle())) {
            check(Arrays.equals(HostModel.expected(2), model.run()));
            refused(NqException.NOT_READY, "no nested model", other::getPrecision);
        }
        other.close();
    }

    private static void saysWhyItDoesNotCompile(Path folder) throws Exception {
        ByteBuffer buffer = NestedAsset.map(store(folder.resolve("uncompiled.apk"), 0));
        try (NqAccelerator nested = new NqAccelerator(Precision.FULL, -1)) {
            nested.compile(() -> new HostModel(buffer, NqAccelerator.handle()));
            check(false);
        } catch (NqException error) {
            check(error.status() == NqException.INVALID_MODEL && error.getMessage().contains("num_threads=-1"));
            check(error.getCause() instanceof IllegalStateException);
        }
        IOException lost = new IOException("no such file");
        try (NqAccelerator nested = new NqAccelerator(Precision.FULL, 1)) {
            nested.compile(
                    () -> {
                        throw lost;
                    });
            check(false);
        } catch (IOException error) {
            check(error == lost);
        }
    }

    private static void saysWhenAnAssetIsCompressed() {
        try {
            NestedAsset.map(new AssetManager(), "model.tflite");
            check(false);
        } catch (IOException error) {
            check(error.getMessage().contains("noCompress"));
        }
    }

    private static void refused(int status, String message, Runnable action) {
        try {
            action.run();
        } catch (NqException error) {
            if (error.status() != status || !error.getMessage().contains(message)) {
                throw error;
            }
            ++checks;
            return;
        }
        check(false);
    }

    private static void check(boolean passed) {
        if (!passed) {
            throw new AssertionError("check " + (checks + 1) + " failed");
        }
        ++checks;
    }
}
