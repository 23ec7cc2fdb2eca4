// Convolutions against a direct computation from FORMAT.md and TFLite's definition: window, padding and threads. What
// is inside a channel tile is gemm_test's and depthwise_test's business.
#include <cmath>
#include <memory>

#include "check.h"
#include "emulated_tiles.h"
#include "guarded.h"
#include "kernels/unpack/weight.h"
#include "layers/addition.h"
#include "layers/convolution.h"
#include "layers/depthwise_convolution.h"
#include "layers/quantized_layer.h"
#include "naive_layer.h"

namespace {

using nq::Geometry;

struct TestLayer {
  TestLayer(const Geometry& g, bool depthwise, std::mt19937* random) : geometry(g) {
    const uint32_t taps = static_cast<uint32_t>(g.window.kernel_h * g.window.kernel_w);
    nq::OptionBlock& block = weight.block;
    block.layout = depthwise ? nq::Layout::kDepthwise : nq::Layout::kMatrix;
    block.full_bits = 8;
    block.num_levels = 2;
    block.levels[0].bits = block.levels[1].bits = 4;
    block.channels = static_cast<uint32_t>(g.out_c);
    block.depth = depthwise ? taps : taps * static_cast<uint32_t>(g.in_c);
    codes.resize(size_t{block.channels} * block.depth);
    const unsigned least = (*random)() % 2 == 0 ? 128 : 127;  // kernels are faster without -128
    for (int8_t& code : codes) code = static_cast<int8_t>((*random)() % (128 + least) - least);
    uint8_t* levels[2];
    for (int k = 0; k < 2; ++k) {
      storage[k].resize(nq::packed_bytes(block, k));
      weight.levels[k] = {storage[k].data(), storage[k].size()};
      levels[k] = storage[k].data();
    }
    nq::pack_weight(block, codes.data(), levels);
    for (int c = 0; c < g.out_c; ++c) bias.push_back(static_cast<int32_t>((*random)() % 2000) - 1000);
    quantization.input_scale = 0.02f;
    quantization.output_scale = 0.9f;
    quantization.input_zero_point = -7;
    quantization.output_zero_point = 4;
    quantization.low = (*random)() % 2 == 0 ? -100 : -128;  // and where nothing is clamped
    quantization.weight_scales = {0.03f};
    input.resize(static_cast<size_t>(g.batches) * g.in_h * g.in_w * g.in_c);
    for (int8_t& value : input) value = static_cast<int8_t>((*random)());
  }

  int weight_at(int c, int tap, int in_c) const {
    const auto depth = static_cast<int>(weight.block.depth);
    if (weight.block.layout == nq::Layout::kDepthwise) return codes[static_cast<size_t>(tap * geometry.out_c + c)];
    return codes[static_cast<size_t>(c * depth + tap * geometry.in_c + in_c)];
  }

  // Full-bit, by the definition of a convolution.
  int8_t expected(int batch, int y, int x, int c) const {
    const Geometry& g = geometry;
    const bool depthwise = weight.block.layout == nq::Layout::kDepthwise;
    int64_t sum = bias[static_cast<size_t>(c)];
    for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
      const int in_y = y * g.window.stride_h - g.pad_top + tap / g.window.kernel_w * g.window.dilation_h;
      const int in_x = x * g.window.stride_w - g.pad_left + tap % g.window.kernel_w * g.window.dilation_w;
      if (in_y < 0 || in_y >= g.in_h || in_x < 0 || in_x >= g.in_w) continue;
      const int8_t* pixel = input.data() + ((static_cast<size_t>(batch) * g.in_h + in_y) * g.in_w + in_x) * g.in_c;
      for (int i = depthwise ? c : 0; i < (depthwise ? c + 1 : g.in_c); ++i) {
        sum += int64_t{pixel[i] - quantization.input_zero_point} * weight_at(c, tap, i);
      }
    }
    const float multiplier = quantization.input_scale * quantization.weight_scales[0] / quantization.output_scale;
    const float code = std::nearbyint(static_cast<float>(sum) * multiplier) + 4.0f;
    return static_cast<int8_t>(std::min(std::max(code, static_cast<float>(quantization.low)), 127.0f));
  }

  Geometry geometry;
  nq::NestedWeight weight;
  std::vector<uint8_t> storage[2];
  std::vector<int8_t> codes, input;
  std::vector<int32_t> bias;
  nq::LayerQuantization quantization;
};

template <typename Layer, typename Kernel>
void check_outputs(const TestLayer& test, const Kernel& kernel, Layer* layer, nq::ThreadPool* pool) {
  const Geometry& g = test.geometry;
  nq::QuantizedLayer quantized(test.weight, test.quantization, test.bias.data());
  std::vector<int8_t> output(static_cast<size_t>(g.pixels()) * g.out_c);
  layer->run(quantized.task(1, kernel.sum_offset, test.input.data(), g.pixels()),
             quantized.requantization(1, kernel.sum_offset), output.data(), pool);
  size_t at = 0;
  for (int batch = 0; batch < g.batches; ++batch) {
    for (int pixel = 0; pixel < g.out_h * g.out_w; ++pixel) {
      for (int c = 0; c < g.out_c; ++c, ++at) {
        CHECK_EQ(int{test.expected(batch, pixel / g.out_w, pixel % g.out_w, c)}, int{output[at]});
      }
    }
  }
}

template <typename Layer, typename Kernel>
void check_layer(const Geometry& g, const Kernel& kernel, bool depthwise, std::mt19937* random) {
  const TestLayer test(g, depthwise, random);
  nq::PaddingRow padding;
  Layer layer(kernel, test.weight.block, &padding);
  layer.reshape(g);
  nq::ThreadPool pool;
  for (const int threads : {1, 2, 3}) {
    pool.resize(threads);
    check_outputs(test, kernel, &layer, &pool);
  }
}

TEST(convolutions_of_every_geometry) {
  std::mt19937 random(5);
  for (const nq::GemmKernel* kernel : nq::kernels_of<nq::GemmKernel>()) {
    if (!kernel->supported()) continue;
    for (int i = 0; i < 60; ++i)
      check_layer<nq::Convolution>(nq_test::any_geometry(&random, false), *kernel, false, &random);
  }
}

// Pixels one after another, grids and strips. Those of AMX in emulation too, with halos, without, with holes between
// the taps, in lines too short, with columns that no window reaches, in several images and in panels that cut one.
TEST(convolutions_of_spaced_rows) {
  std::mt19937 random(9);
  struct Case {
    int kernel_h, kernel_w, dilation, in_h, in_w, in_c, out_c, batches, stride = 1;
  };
  constexpr Case kCases[] = {
      {3, 3, 1, 7, 7, 64, 70, 2},    {3, 3, 1, 5, 19, 128, 20, 1},  {3, 3, 2, 9, 8, 64, 33, 1},
      {1, 5, 1, 3, 20, 64, 16, 3},   {5, 1, 1, 9, 3, 64, 16, 1},    {3, 3, 1, 4, 1, 64, 17, 2},
      {2, 3, 1, 6, 6, 192, 130, 1},  {3, 3, 1, 6, 6, 60, 18, 1},    {3, 3, 1, 8, 8, 64, 18, 2, 2},
      {3, 1, 1, 46, 46, 256, 1, 1},  {1, 1, 1, 7, 7, 128, 80, 1},   {1, 1, 1, 5, 7, 64, 20, 3},
      {1, 1, 2, 9, 9, 64, 20, 1},    {1, 1, 1, 3, 5, 64, 20, 1},    {7, 7, 1, 9, 44, 3, 70, 2, 2},
      {3, 3, 1, 8, 37, 3, 33, 2, 2}, {2, 3, 2, 7, 18, 5, 20, 1},    {3, 4, 1, 90, 700, 15, 1, 1, 6},
      {1, 1, 1, 9, 9, 28, 90, 1},    {1, 1, 1, 8, 8, 96, 130, 1, 2}};
  std::vector<const nq::GemmKernel*> kernels = nq_test::emulated_kernels();
  for (const nq::GemmKernel* kernel : nq::kernels_of<nq::GemmKernel>()) kernels.push_back(kernel);
  for (const nq::GemmKernel* kernel : kernels) {
    if (!kernel->supported()) continue;
    for (const Case& each : kCases) {
      for (const bool same_padding : {true, false}) {
        Geometry g;
        g.window = {each.kernel_h, each.kernel_w, each.stride, each.stride, each.dilation, each.dilation, same_padding};
        g.batches = each.batches;
        g.in_h = each.in_h, g.in_w = each.in_w, g.in_c = each.in_c, g.out_c = each.out_c;
        nq::place_window(&g);
        if (g.pixels() > 0) check_layer<nq::Convolution>(g, *kernel, false, &random);
      }
    }
  }
}

TEST(depthwise_convolutions_of_every_geometry) {
  std::mt19937 random(6);
  for (const nq::DepthwiseKernel* kernel : nq::kernels_of<nq::DepthwiseKernel>()) {
    if (!kernel->supported()) continue;
    for (int i = 0; i < 60; ++i) {
      check_layer<nq::DepthwiseConvolution>(nq_test::any_geometry(&random, true), *kernel, true, &random);
    }
  }
}

// Kernels have paths of their own for these.
TEST(common_depthwise_windows) {
  std::mt19937 random(8);
  for (const nq::DepthwiseKernel* kernel : nq::kernels_of<nq::DepthwiseKernel>()) {
    if (!kernel->supported()) continue;
    for (const int size : {3, 5}) {
      for (const int stride : {1, 2, 3}) {
        for (const int width : {1, 2, 3, 4, 7, 12}) {
          for (const int channels : {32, 60 + 20 * (width % 3)}) {
            Geometry g;
            g.window = {size, size, stride, stride, 1, 1, true};
            g.batches = 2;
            g.in_h = 6, g.in_w = width, g.in_c = g.out_c = channels;
            nq::place_window(&g);
            check_layer<nq::DepthwiseConvolution>(g, *kernel, true, &random);
          }
        }
      }
    }
  }
}

// A short row of zero points, a long one, the same of another layer's, and a layer that needs none.
TEST(layers_of_several_zero_points_share_a_padding_row) {
  struct Case {
    int kernel, width, channels, zero_point;
  };
  constexpr Case kCases[] = {{3, 4, 8, -7}, {3, 9, 24, -7}, {1, 9, 24, 5}, {5, 6, 16, 90}, {3, 4, 8, -128}};
  std::mt19937 random(10);
  const nq::GemmKernel* kernel = nullptr;
  CHECK_OK(nq::select_kernel(nullptr, &kernel));
  nq::PaddingRow padding;
  nq::ThreadPool pool;
  std::vector<TestLayer> tests;
  std::vector<std::unique_ptr<nq::Convolution>> layers;
  for (const Case& each : kCases) {
    Geometry g;
    g.window.kernel_h = g.window.kernel_w = each.kernel;
    g.window.same_padding = true;
    g.in_h = 3, g.in_w = each.width, g.in_c = each.channels, g.out_c = 20;
    nq::place_window(&g);
    tests.emplace_back(g, false, &random);
    tests.back().quantization.input_zero_point = each.zero_point;
  }
  for (const TestLayer& test : tests) {
    layers.push_back(std::make_unique<nq::Convolution>(*kernel, test.weight.block, &padding));
    layers.back()->reshape(test.geometry);
  }
  for (const size_t i : {0, 1, 3, 2, 4, 1, 0, 3, 0, 2, 0}) check_outputs(tests[i], *kernel, layers[i].get(), &pool);
}

TEST(many_panels_and_few) {
  std::mt19937 random(7);
  nq::Geometry g;
  g.window.kernel_h = g.window.kernel_w = 3;
  g.window.same_padding = true;
  g.in_h = 30, g.in_w = 31, g.in_c = 5, g.out_c = 20;
  nq::place_window(&g);
  const nq::GemmKernel* kernel = nullptr;
  CHECK_OK(nq::select_kernel(nullptr, &kernel));
  check_layer<nq::Convolution>(g, *kernel, false, &random);
}

// All pairs of codes, from every kernel alike.
void check_additions(float scale, nq::ActivationRange range) {
  std::vector<int8_t> a, b, wanted;
  for (int i = 0; i < 1 << 16; ++i) a.push_back(static_cast<int8_t>(i >> 8)), b.push_back(static_cast<int8_t>(i));
  for (const nq::AdditionKernel* kernel : nq::kernels_of<nq::AdditionKernel>()) {
    if (!kernel->supported()) continue;
    nq::Addition addition(*kernel);
    CHECK(addition.set({scale, 3}, {0.7f, -9}, 5, range));
    std::vector<int8_t> out(a.size());
    addition.run({a.data(), b.data(), 1, 1, static_cast<int64_t>(a.size()), out.data()});
    if (wanted.empty()) wanted = out;
    CHECK(out == wanted);
  }
  for (size_t i = 0; i < a.size(); ++i) {
    const double exact = scale * (a[i] - 3.0) + 0.7 * (b[i] + 9.0) + 5.0;
    CHECK(std::abs(std::min<double>(std::max<double>(exact, range.low), range.high) - wanted[i]) <= 0.501);
  }
}

TEST(additions_are_those_of_real_numbers) {
  for (const float scale : {0.4f, 1.0f, 3.0f, 20.0f}) {
    check_additions(scale, {-120, 119});
    check_additions(scale, {});
  }
}

// At the ends of what scales and zero points may be, with and without clamps, and with one operand that stands still.
TEST(additions_of_extreme_scales_agree) {
  constexpr float kScales[] = {1.0f / 1024, -1.0f / 1024, 0.9999f, 127.9f, 255.9f, -255.9f};
  std::vector<int8_t> a, b;
  for (int i = 0; i < 1 << 16; ++i) a.push_back(static_cast<int8_t>(i >> 8)), b.push_back(static_cast<int8_t>(i));
  for (const float scale_a : kScales) {
    for (const float scale_b : kScales) {
      for (const int zero_point : {-128, 0, 127}) {
        for (const auto& [low, high] : {std::pair(-128, 127), {-128, 30}, {-5, 127}}) {
          const nq::ActivationRange range = {static_cast<int8_t>(low), static_cast<int8_t>(high)};
          const nq::AdditionKernel* scalar = nullptr;
          std::vector<int8_t> wanted(a.size()), out(a.size());
          for (const nq::AdditionKernel* kernel : nq::kernels_of<nq::AdditionKernel>()) {
            if (!kernel->supported()) continue;
            nq::Addition addition(*kernel);
            CHECK(addition.set({scale_a, zero_point}, {scale_b, -zero_point - 1}, zero_point, range));
            const auto count = static_cast<int64_t>(a.size());
            std::vector<int8_t>& to = scalar == nullptr ? wanted : out;
            addition.run({a.data(), b.data(), 1, 1, count / 2, to.data()});
            addition.run({a.data() + count / 2, b.data(), 0, 1, count / 4, to.data() + count / 2});
            addition.run({a.data(), b.data() + 5, 1, 0, count / 4, to.data() + count / 4 * 3});
            CHECK(scalar == nullptr || out == wanted);
            scalar = kernel;
          }
        }
      }
    }
  }
}

TEST(additions_of_any_length) {
  for (const nq::AdditionKernel* kernel : nq::kernels_of<nq::AdditionKernel>()) {
    if (!kernel->supported()) continue;
    for (const float scale : {200.0f, 1.0f}) {
      nq::Addition addition(*kernel);
      CHECK(addition.set({scale, 127}, {0.01f, -128}, -128, {}));
      for (size_t count = 0; count < 150; ++count) {
        const nq_test::Guarded<int8_t> a(count, int8_t{127}), b(count, int8_t{100}), out(count);
        addition.run({a.data(), b.data(), 1, 1, static_cast<int64_t>(count), out.data()});
        CHECK(std::all_of(out.begin(), out.end(), [](int8_t code) { return code == -126; }));  // 2.28 above -128
      }
    }
  }
}

TEST(additions_of_scales_too_far_apart_are_refused) {
  nq::Addition addition(**nq::kernels_of<nq::AdditionKernel>().begin());
  CHECK(!addition.set({300.0f, 0}, {1.0f, 0}, 0, {}));
  CHECK(!addition.set({1.0f, 0}, {0.0001f, 0}, 0, {}));
}

}  // namespace
