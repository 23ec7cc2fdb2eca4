// The native methods of HostModel.java.
#include <jni.h>

#include <memory>

#include "fake_runtime.h"
#include "litert_abi.h"
#include "nested_file.h"

namespace {

using nq::Layout;
using nq_test::Bytes;
using nq_test::FakeRuntime;
using nq_test::NestedFile;
using nq_test::TestWeight;

const NestedFile& example() {
  static const NestedFile file(nq_test::example_weights());
  return file;
}

std::vector<int> shape_of(const nq::OptionBlock& block) {
  const int channels = static_cast<int>(block.channels), depth = static_cast<int>(block.depth);
  return block.layout == Layout::kDepthwise ? std::vector<int>{1, depth / 3, 3, channels}
                                            : std::vector<int>{channels, depth};
}

// The example with its constants at `base`. The delegate belongs to Java.
struct Model {
  explicit Model(const uint8_t* base) {
    const size_t table_bytes = nq_test::table_bytes(example().sections).size();
    const int table = constant(kTfLiteUInt8, table_bytes, table_bytes, base);
    const int activation = runtime.add_output("activation", kTfLiteFloat32, {1});
    for (const TestWeight& weight : example().weights) add_operator(weight, base, table, activation);
  }

  int constant(TfLiteType type, size_t count, size_t bytes, const void* data) {
    return runtime.add_constant(type, {static_cast<int>(count)}, data, bytes);
  }

  void add_operator(const TestWeight& weight, const uint8_t* base, int table, int activation) {
    const nq::OptionBlock& block = weight.block;
    std::vector<int> in, out;
    for (int k = 0; k < block.num_levels; ++k) {
      const auto bytes = static_cast<size_t>(nq::level_bytes(block, k));
      const uint64_t start = example().sections[static_cast<size_t>(k)].offset + block.levels[k].offset;
      in.push_back(constant(kTfLiteUInt8, bytes, bytes, base + start));
    }
    in.insert(in.end(), {table, activation});
    out.push_back(runtime.add_output("weight", kTfLiteInt8, shape_of(block)));
    runtime.set_scales(out[0], std::vector<float>(block.channels, 0.5f), block.layout == Layout::kMatrix ? 0 : 3);
    if (block.has_bias) {
      in.push_back(constant(kTfLiteInt32, block.channels, 4 * block.channels, biases.data()));
      out.push_back(runtime.add_output("bias", kTfLiteInt32, {static_cast<int>(block.channels)}));
    }
    options.push_back(std::make_unique<Bytes>(nq_test::option_bytes(block)));
    runtime.add_node("NQ_UNPACK_DEQUANT", in, out, *options.back());
    weights.push_back(out[0]);
  }

  std::vector<int32_t> biases = std::vector<int32_t>(1024, 0);
  std::vector<std::unique_ptr<Bytes>> options;
  std::vector<int> weights;
  FakeRuntime runtime;
};

jbyteArray java_bytes(JNIEnv* env, const Bytes& bytes) {
  const auto size = static_cast<jsize>(bytes.size());
  const jbyteArray array = env->NewByteArray(size);
  if (array != nullptr) env->SetByteArrayRegion(array, 0, size, reinterpret_cast<const jbyte*>(bytes.data()));
  return array;
}

void give_up(JNIEnv* env, const FakeRuntime& runtime) {
  env->ThrowNew(env->FindClass("java/lang/IllegalStateException"), runtime.errors().c_str());
}

// LiteRT's side of an accelerator: what its delegate wrapper would hold.
struct Wrapped {
  TfLiteDelegate* delegate = nullptr;
  void (*deleter)(TfLiteDelegate*) = nullptr;
} wrapped;

LiteRtStatus wrap_delegate(TfLiteDelegate* delegate, void (*deleter)(TfLiteDelegate*), LiteRtDelegateWrapper**) {
  wrapped = {delegate, deleter};
  return kLiteRtStatusOk;
}

}  // namespace

extern "C" {

JNIEXPORT jbyteArray Java_org_nqtflite_HostModel_file(JNIEnv* env, jclass) { return java_bytes(env, example().bytes); }

JNIEXPORT jbyteArray Java_org_nqtflite_HostModel_expected(JNIEnv* env, jclass, jint level) {
  Bytes all;
  for (const TestWeight& weight : example().weights) {
    const nq::OptionBlock& block = weight.block;
    Bytes values(weight.codes.size());
    for (uint32_t c = 0; c < block.channels; ++c) {
      for (uint32_t d = 0; d < block.depth; ++d) {
        const int8_t code = weight.codes[size_t{c} * block.depth + d];
        values[nq_test::reader_index(block, c, d)] =
            static_cast<uint8_t>(nq_test::value_at_level(block, level, code, d));
      }
    }
    all.insert(all.end(), values.begin(), values.end());
  }
  return java_bytes(env, all);
}

JNIEXPORT jlongArray Java_org_nqtflite_HostModel_sections(JNIEnv* env, jclass) {
  std::vector<jlong> sizes;
  for (const auto& section : example().sections) sizes.push_back(static_cast<jlong>(section.size));
  const auto count = static_cast<jsize>(sizes.size());
  const jlongArray array = env->NewLongArray(count);
  if (array != nullptr) env->SetLongArrayRegion(array, 0, count, sizes.data());
  return array;
}

JNIEXPORT jlong Java_org_nqtflite_HostModel_open(JNIEnv* env, jclass, jobject buffer, jlong delegate) {
  auto model = std::make_unique<Model>(static_cast<const uint8_t*>(env->GetDirectBufferAddress(buffer)));
  if (model->runtime.apply(reinterpret_cast<TfLiteDelegate*>(delegate)) != kTfLiteOk ||
      model->runtime.prepare() != kTfLiteOk) {
    give_up(env, model->runtime);
    return 0;
  }
  return reinterpret_cast<jlong>(model.release());
}

JNIEXPORT jbyteArray Java_org_nqtflite_HostModel_run(JNIEnv* env, jclass, jlong handle) {
  Model& model = *reinterpret_cast<Model*>(handle);
  if (model.runtime.invoke() != kTfLiteOk) {
    give_up(env, model.runtime);
    return nullptr;
  }
  Bytes all;
  for (const int weight : model.weights) {
    const TfLiteTensor& tensor = model.runtime.tensor(weight);
    const auto* bytes = static_cast<const uint8_t*>(tensor.data);
    all.insert(all.end(), bytes, bytes + tensor.bytes);
  }
  return java_bytes(env, all);
}

JNIEXPORT void Java_org_nqtflite_HostModel_close(JNIEnv*, jclass, jlong handle) {
  delete reinterpret_cast<Model*>(handle);
}

// As LiteRT asks an accelerator for its delegate while it compiles a model.
JNIEXPORT jlong Java_org_nqtflite_HostModel_ask(JNIEnv* env, jclass, jlong accelerator) {
  const auto& definition = *reinterpret_cast<const LiteRtAcceleratorDef*>(accelerator);
  LiteRtRuntimeContext runtime = {};
  runtime.header = {sizeof runtime, 1, 1, 0};
  runtime.wrap_delegate = wrap_delegate;
  LiteRtDelegateWrapper* wrapper = nullptr;
  const LiteRtStatus status = definition.create_delegate(&runtime, nullptr, nullptr, nullptr, &wrapper);
  if (status == kLiteRtStatusOk) return reinterpret_cast<jlong>(wrapped.delegate);
  env->ThrowNew(env->FindClass("java/lang/IllegalStateException"), "LiteRT has no delegate");
  return 0;
}

JNIEXPORT void Java_org_nqtflite_HostModel_release(JNIEnv*, jclass) {
  if (wrapped.delegate != nullptr) wrapped.deleter(wrapped.delegate);
  wrapped = {};
}
}
