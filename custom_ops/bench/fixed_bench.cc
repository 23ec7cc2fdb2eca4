// What every small piece of an inference costs beside its arithmetic, in nanoseconds, best of several rounds.
//
//   fixed_bench [threads; default 2]
//
// "latch" is what a nested layer asks the session: at which level to run, and that it has run. "task" is what a pool
// costs that has one thread, "hand-over" what one with more does whose threads are awake, or asleep. "layer" is a dense
// one of 16 channels on a row of 32 codes, from its operator's call on; "table" 64 codes through a table. "partition
// of 1 operator" is a runtime's call of one from its entry to its exit, "each further operator" what one more adds:
// operators that negate one float each, whose arithmetic is next to nothing.
// `python -m nq_tflite_models.load_time` has what whole operators and partitions take under a runtime, beside stock.
#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/unpack/weight.h"
#include "layers/convolution.h"
#include "layers/quantized_layer.h"
#include "nodes/partition_node.h"
#include "operators/node_environment.h"
#include "session/session.h"
#include "tflite_abi.h"
#include "threads/thread_pool.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 15, kCalls = 2000;

double nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

template <typename Call>
double best(const Call& call) {
  double least = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    least = std::min(least, nanoseconds_since(start) / kCalls);
  }
  return least;
}

double latch() {
  constexpr int kLayers = 20;
  nq::Session session;
  std::vector<nq::Session::Member*> members;
  for (int i = 0; i < kLayers; ++i) members.push_back(session.add(&session, {}, {}));
  const double all = best([&] {
    for (nq::Session::Member* member : members) {
      session.begin(member);
      session.end(member);
    }
  });
  for (nq::Session::Member* member : members) session.remove(member);
  return all / kLayers;
}

double hand_over(int threads, bool asleep) {
  nq::ThreadPool pool;
  pool.resize(threads);
  if (!asleep) return best([&] { pool.run([](int, nq::Workspace*) {}); });
  double least = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto start = Clock::now();
    pool.run([](int, nq::Workspace*) {});
    least = std::min(least, nanoseconds_since(start));
  }
  return least;
}

double layer(const nq::Kernels& kernels) {
  nq::NestedWeight weight;
  nq::OptionBlock& block = weight.block;
  block.layout = nq::Layout::kMatrix;
  block.output_type = nq::OutputType::kInt8;
  block.full_bits = 8;
  block.num_levels = 2;
  block.levels[0].bits = block.levels[1].bits = 4;
  block.channels = 16;
  block.depth = 32;
  const std::vector<int8_t> codes(16 * 32, 3), row(32, 5);
  std::vector<uint8_t> storage[2];
  uint8_t* levels[2];
  for (int k = 0; k < 2; ++k) {
    storage[k].resize(nq::packed_bytes(block, k));
    levels[k] = storage[k].data();
    weight.levels[k] = {storage[k].data(), storage[k].size()};
  }
  nq::pack_weight(block, codes.data(), levels);
  nq::LayerQuantization quantization;
  quantization.weight_scales = {0.01f};
  nq::QuantizedLayer quantized(weight, quantization, nullptr);
  nq::PaddingRow padding;
  nq::Convolution convolution(*kernels.gemm, block, &padding);
  nq::Geometry geometry;
  geometry.in_c = 32;
  geometry.out_c = 16;
  convolution.reshape(geometry);
  nq::ThreadPool pool;
  std::vector<int8_t> out(16);
  return best([&] {
    const int32_t offset = convolution.sum_offset();
    const nq::LayerTask task = quantized.task(1, offset, row.data(), 1);
    convolution.run(task, quantized.requantization(1, offset), out.data(), &pool);
  });
}

// A chain of operators that a delegate has claimed, as a runtime shows it.
struct Chain {
  static constexpr int32_t kNegate = 59;  // TFLite's builtin operator

  explicit Chain(int length) : tensors(static_cast<size_t>(length) + 1), nodes(static_cast<size_t>(length)) {
    static TfLiteIntArray* const one = array({1});
    for (TfLiteTensor& tensor : tensors) {
      tensor = {};
      tensor.type = kTfLiteFloat32;
      tensor.dims = one;
      tensor.bytes = sizeof(float);
    }
    tensors.front().data = &input, tensors.back().data = &output;
    for (size_t i = 0; i < nodes.size(); ++i) {
      nodes[i] = {};
      nodes[i].inputs = array({static_cast<int>(i)});
      nodes[i].outputs = array({static_cast<int>(i) + 1});
    }
    registration.builtin_code = kNegate;
    context.tensors = tensors.data();
    context.tensors_size = tensors.size();
    context.impl_ = this;
    context.recommended_num_threads = 1;
    context.ReportError = report;
    context.ResizeTensor = [](TfLiteContext*, TfLiteTensor*, TfLiteIntArray* shape) {
      std::free(shape);
      return kTfLiteOk;
    };
    context.GetNodeAndRegistration = [](TfLiteContext* context, int index, TfLiteNode** node,
                                        TfLiteRegistration** registration) {
      auto* chain = static_cast<Chain*>(context->impl_);
      *node = &chain->nodes[static_cast<size_t>(index)];
      *registration = &chain->registration;
      return kTfLiteOk;
    };
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  ~Chain() {
    for (TfLiteNode& node : nodes) std::free(node.inputs), std::free(node.outputs);
  }

  static void report(TfLiteContext*, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
  }

  static TfLiteIntArray* array(const std::vector<int>& values) {
    return new_int_array(static_cast<int>(values.size()), values.data());
  }

  float input = 1, output = 0;
  std::vector<TfLiteTensor> tensors;
  std::vector<TfLiteNode> nodes;
  TfLiteRegistration registration = {};
  TfLiteContext context = {};
};

double partition(const nq::Kernels& kernels, int length) {
  Chain chain(length);
  nq::NodeEnvironment environment;
  environment.session = std::make_shared<nq::Session>();
  environment.session->model_loaded();
  environment.kernels = kernels;
  environment.threads = std::make_shared<nq::ThreadPool>();
  environment.arena = std::make_shared<nq::Workspace>();
  environment.padding = std::make_shared<nq::PaddingRow>();
  TfLiteDelegate delegate = {};
  delegate.data_ = &environment;
  std::vector<int> claimed(static_cast<size_t>(length));
  std::iota(claimed.begin(), claimed.end(), 0);
  TfLiteDelegateParams params = {&delegate, Chain::array(claimed), Chain::array({0}), Chain::array({length})};
  const TfLiteRegistration calls = nq::partition_node_registration();
  TfLiteNode node = {};
  node.user_data = calls.init(&chain.context, reinterpret_cast<const char*>(&params), 0);
  double nanoseconds = -1;
  if (node.user_data != nullptr && calls.prepare(&chain.context, &node) == kTfLiteOk) {
    nanoseconds = best([&] { calls.invoke(&chain.context, &node); });
  }
  if (chain.output != (length % 2 == 0 ? 1.0f : -1.0f)) nanoseconds = -1;
  if (node.user_data != nullptr) calls.free(&chain.context, node.user_data);
  for (TfLiteIntArray* each : {params.nodes_to_replace, params.input_tensors, params.output_tensors}) std::free(each);
  return nanoseconds;
}

double table(const nq::Kernels& kernels) {
  const std::vector<int8_t> values(256), in(64);
  std::vector<int8_t> out(64);
  return best([&] { kernels.elementwise->look_up(values.data(), in.data(), in.size(), out.data()); });
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  nq::Kernels kernels;
  const nq::Status status = nq::select_kernels(&kernels);
  if (threads < 2 || threads > 1024 || !status.ok()) {
    std::fprintf(stderr, "expected a number of threads from 2 to 1024; %s\n", status.message().c_str());
    return 2;
  }
  std::printf("nanoseconds (%s)\n", kernels.gemm->isa);
  std::printf("latch, a nested layer           %8.1f\n", latch());
  std::printf("task, 1 thread                  %8.1f\n", hand_over(1, false));
  std::printf("hand-over, %2d threads, awake    %8.1f\n", threads, hand_over(threads, false));
  std::printf("hand-over, %2d threads, asleep   %8.1f\n", threads, hand_over(threads, true));
  std::printf("layer of 16 x 32, 1 row         %8.1f\n", layer(kernels));
  const double of_one = partition(kernels, 1), of_33 = partition(kernels, 33);
  if (of_one < 0 || of_33 < 0) return 1;
  std::printf("partition of 1 operator         %8.1f\n", of_one);
  std::printf("each further operator           %8.1f\n", (of_33 - of_one) / 32);
  std::printf("table, 64 codes                 %8.1f\n", table(kernels));
}
