package org.nqtflite.example;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.Environment;
import com.google.ai.edge.litert.TensorBuffer;
import java.io.File;
import java.util.List;
import java.util.Map;
import org.nqtflite.NqAccelerator;
import org.nqtflite.Precision;

/** Classifies frames with a nested model under LiteRT's CompiledModel. */
public final class CompiledClassifier implements AutoCloseable {
    private final NqAccelerator nested;
    private final Environment environment;
    private final CompiledModel model;
    private final List<TensorBuffer> inputs;
    private final List<TensorBuffer> outputs;

    /**
     * Part-bit first: the residual is not read before it is wanted.
     *
     * @param file a full-int8 model in the app's folder of files: LiteRT reads an asset into memory of its own, where
     *     nothing can be given back
     */
    public CompiledClassifier(File file) throws Exception {
        environment =
                Environment.create(
                        Map.of(Environment.Option.SystemGpuAcceleratorHandle, NqAccelerator.handle()));
        nested = new NqAccelerator(Precision.PART, 2);
        CompiledModel.Options options = new CompiledModel.Options(Accelerator.CPU);
        model = nested.compile(() -> CompiledModel.create(file.getPath(), options, environment));
        inputs = model.createInputBuffers();
        outputs = model.createOutputBuffers();
    }

    /** Scores of a frame, both quantized. */
    public byte[] classify(byte[] frame) {
        inputs.get(0).writeInt8(frame);
        model.run(inputs, outputs);
        return outputs.get(0).readInt8();
    }

    /** From the next frame on. */
    public void use(Precision precision) {
        nested.setPrecision(precision);
    }

    @Override
    public void close() {
        inputs.forEach(TensorBuffer::close);
        outputs.forEach(TensorBuffer::close);
        model.close(); // before its session
        nested.close();
        environment.close();
    }
}
