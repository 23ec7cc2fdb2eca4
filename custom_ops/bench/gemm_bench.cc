// How fast each kernel multiplies packed weights: GMAC/s, best of several rounds, one thread.
//
//   gemm_bench [panel rows; default 96]
//   gemm_bench run matrix|depthwise ISA DEPTH CHANNELS ROWS TIMES
//
// Shapes are layers of ResNet50 and MobileNetV2; rows go to the kernel in panels, as the nodes pass them. The second
// form runs one shape at full-bit and measures nothing: for tools that count, for which getsid() marks begin and end.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"

namespace {

using nq::PackedWeight;
using nq::Requantization;

constexpr double kSeconds = 0.03;  // of each round
constexpr int kRounds = 5;
constexpr int kPartBits = 5;
constexpr int kPanel = 96;  // rows

struct Shape {
  uint32_t depth, channels;
  int rows;
};

constexpr Shape kMatrixShapes[] = {{64, 64, 3136},  {64, 256, 3136},  {576, 64, 3136},  {1152, 128, 784},
                                   {512, 128, 784}, {256, 1024, 196}, {2304, 256, 196}, {4608, 512, 49},
                                   {512, 2048, 49}, {96, 24, 3136},   {144, 32, 784},   {64, 384, 196},
                                   {160, 960, 49},  {960, 320, 49},   {1280, 1000, 1},  {2048, 1000, 1}};
// Square windows over square images, stride 1.
constexpr Shape kDepthwiseShapes[] = {{9, 96, 3136}, {9, 192, 784}, {9, 384, 196}, {9, 960, 49}, {25, 240, 196}};

double gigamacs(const Shape& shape, void (*run)(void*), void* context) {
  using Clock = std::chrono::steady_clock;
  const double macs = 1.0 * shape.depth * shape.channels * shape.rows;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    std::chrono::duration<double> elapsed{};
    int count = 0;
    for (; elapsed.count() < kSeconds; ++count, elapsed = Clock::now() - start) run(context);
    best = std::max(best, macs * count / elapsed.count() / 1e9);
  }
  return best;
}

struct Speed {
  template <typename Work>
  double operator()(const Shape& shape, Work work) const {
    return gigamacs(shape, [](void* context) { (*static_cast<Work*>(context))(); }, &work);
  }
};

struct Times {
  template <typename Work>
  double operator()(const Shape&, Work work) const {
    getsid(0);
    for (int i = 0; i < times; ++i) work();
    getsid(0);
    return 0;
  }
  int times;
};

struct Layer {
  Layer(nq::Layout layout, const Shape& shape) {
    nq::OptionBlock& block = weight.block;
    block.layout = layout;
    block.channels = shape.channels;
    block.depth = shape.depth;
    block.full_bits = 8;
    block.num_levels = 2;
    block.levels[0].bits = kPartBits;
    block.levels[1].bits = 8 - kPartBits;
    std::mt19937 random(0);
    for (int k = 0; k < 2; ++k) {
      levels[k].resize(nq::level_bytes(block, k));
      for (uint8_t& byte : levels[k]) byte = static_cast<uint8_t>(random());
      weight.levels[k] = levels[k].data();
    }
    const size_t padded = nq::align(shape.channels, 64);
    multiplier.assign(padded, 1e-4f);
    bias.assign(padded, 100);
    out.resize(size_t{shape.channels} * static_cast<size_t>(shape.rows));
  }

  Requantization requantization() const { return {multiplier.data(), 3, -128, 127, true, true}; }

  PackedWeight weight;
  std::vector<uint8_t> levels[2];
  std::vector<float> multiplier;
  std::vector<int32_t> bias;
  std::vector<int8_t> out;
};

uint8_t* align_scratch(std::vector<uint8_t>* bytes, size_t size) {
  bytes->resize(size + 63);
  return bytes->data() + (64 - reinterpret_cast<uintptr_t>(bytes->data()) % 64) % 64;
}

template <typename Measure>
double run_matrix(const nq::GemmKernel& kernel, const Shape& shape, int level, int panel, const Measure& measure) {
  Layer layer(nq::Layout::kMatrix, shape);
  layer.weight.level = level;
  const auto num_rows = static_cast<size_t>(shape.rows);
  const uint32_t depth = (shape.depth + 3) / 4 * 4;
  const size_t stride = size_t{depth} * kernel.activations.bytes;
  std::vector<int8_t> rows(stride * num_rows, 1);
  std::vector<const int8_t*> pieces;
  for (size_t row = 0; row < num_rows; ++row) pieces.push_back(rows.data() + row * stride);
  std::vector<uint8_t> bytes;
  uint8_t* scratch = align_scratch(&bytes, nq::gemm_scratch_bytes(kernel, shape.depth, 1));
  return measure(shape, [&] {
    for (int row = 0; row < shape.rows; row += panel) {
      const auto first = static_cast<size_t>(row);
      const int count = std::min(panel, shape.rows - row);
      nq::GemmRows panel_rows = {pieces.data() + first, 1, depth, count};
      if (kernel.spaced.run != nullptr && count > 1) panel_rows.spacing = {stride, count, count};
      const nq::GemmTask task = {layer.weight, panel_rows, 0, (shape.channels + 15) / 16, layer.bias.data(), scratch};
      nq::run_gemm(kernel, task, layer.requantization(), layer.out.data() + first * shape.channels, shape.channels);
    }
  });
}

template <typename Measure>
double run_depthwise(const nq::DepthwiseKernel& kernel, const Shape& shape, int level, const Measure& measure) {
  Layer layer(nq::Layout::kDepthwise, shape);
  layer.weight.level = level;
  const auto side = static_cast<size_t>(std::lround(std::sqrt(shape.rows)));
  const auto window = static_cast<uint32_t>(std::lround(std::sqrt(shape.depth)));
  const size_t in_side = side + window - 1;
  const std::vector<int8_t> in(in_side * in_side * shape.channels, 1);
  std::vector<const int8_t*> taps;
  for (size_t row = 0; row < side; ++row) {
    for (size_t t = 0; t < shape.depth; ++t) {
      taps.push_back(in.data() + ((row + t / window) * in_side + t % window) * shape.channels);
    }
  }
  std::vector<uint8_t> bytes;
  uint8_t* scratch = align_scratch(&bytes, nq::depthwise_scratch_bytes(shape.depth));
  std::vector<nq::TapRun> runs;
  for (size_t row = 0; row < side; ++row) runs.push_back({taps.data() + row * shape.depth, static_cast<int>(side)});
  const nq::DepthwisePixels pixels = {runs.data(), static_cast<int>(side), shape.channels, window, shape.channels};
  const nq::DepthwiseTask task = {layer.weight, pixels, 0, shape.channels, layer.bias.data(), scratch};
  return measure(shape,
                 [&] { nq::run_depthwise(kernel, task, layer.requantization(), layer.out.data(), shape.channels); });
}

template <typename Kernel, size_t kCount, typename Run>
void print_table(const char* title, nq::KernelList<Kernel> kernels, const Shape (&shapes)[kCount], const Run& run) {
  std::printf("%-24s", title);
  for (const Kernel* kernel : kernels) {
    if (kernel->supported()) std::printf(" %11s part  full", kernel->isa);
  }
  for (const Shape& shape : shapes) {
    std::printf("\nK %4u  N %4u  M %4d     ", shape.depth, shape.channels, shape.rows);
    for (const Kernel* kernel : kernels) {
      if (kernel->supported()) std::printf(" %16.1f %5.1f", run(*kernel, shape, 0), run(*kernel, shape, 1));
    }
  }
  std::printf("\n");
}

// Returns an exit status.
int run_times(char** argv) {
  const char* isa = argv[1];
  const Shape shape = {static_cast<uint32_t>(std::atoi(argv[2])), static_cast<uint32_t>(std::atoi(argv[3])),
                       std::atoi(argv[4])};
  const Times times = {std::atoi(argv[5])};
  const nq::GemmKernel* gemm = nullptr;
  const nq::DepthwiseKernel* depthwise = nullptr;
  nq::Status status = nq::select_kernel(isa, &gemm);
  if (status.ok()) status = nq::select_kernel(isa, &depthwise);
  if (!status.ok() || shape.depth == 0 || shape.channels == 0 || shape.rows < 1 || times.times < 1) {
    std::fprintf(stderr, "expected an ISA of this CPU and positive numbers; %s\n", status.message().c_str());
    return 2;
  }
  if (std::strcmp(argv[0], "depthwise") == 0) {
    run_depthwise(*depthwise, shape, 1, times);
  } else {
    run_matrix(*gemm, shape, 1, kPanel, times);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 8 && std::strcmp(argv[1], "run") == 0) return run_times(argv + 2);
  const int panel = argc > 1 ? std::atoi(argv[1]) : kPanel;
  if (panel < 1 || panel > 4096) {
    std::fprintf(stderr, "expected a number of rows from 1 to 4096, got '%s'\n", argv[1]);
    return 2;
  }
  std::printf("8|%d, GMAC/s, panels of %d rows\n", kPartBits, panel);
  print_table("matrix", nq::kernels_of<nq::GemmKernel>(), kMatrixShapes,
              [&](const auto& kernel, const Shape& shape, int level) {
                return run_matrix(kernel, shape, level, panel, Speed());
              });
  print_table(
      "depthwise", nq::kernels_of<nq::DepthwiseKernel>(), kDepthwiseShapes,
      [](const auto& kernel, const Shape& shape, int level) { return run_depthwise(kernel, shape, level, Speed()); });
}
