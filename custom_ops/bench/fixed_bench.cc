// What every small piece of an inference costs beside its arithmetic, in nanoseconds, best of several rounds.
//
//   fixed_bench [threads; default 2]
//
// "latch" is what a nested layer asks the session: at which level to run, and that it has run. "task" is what a pool
// costs that has one thread, "hand-over" what one with more does whose threads are awake, or asleep. "layer" is a dense
// one of 16 channels on a row of 32 codes, from its operator's call on; "table" 64 codes through a table.
// `python -m nq_tflite_models.load_time` has what whole operators and partitions take under a runtime, beside stock.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/unpack/weight.h"
#include "layers/convolution.h"
#include "layers/quantized_layer.h"
#include "session/session.h"
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
  std::printf("table, 64 codes                 %8.1f\n", table(kernels));
}
