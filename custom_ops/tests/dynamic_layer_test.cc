// Dynamic range against a direct computation on the same quantized activations: sums are exact and the finish is one
// formula of floats, so that every bit is known.
#include "layers/dynamic_layer.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "kernels/kernels.h"
#include "layers/convolution.h"
#include "layers/depthwise_convolution.h"
#include "naive_layer.h"

namespace {

using nq::Geometry;
using nq::Grouping;
using nq_test::NaiveLayer;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float any_float(float low, float high, std::mt19937* random) {
  return low + (high - low) * static_cast<float>((*random)() % 4096) / 4095;
}

struct TestLayer {
  TestLayer(const Geometry& g, bool depthwise, std::mt19937* random)
      : geometry(g), layer(make_layer(g, depthwise, random)) {
    weight.block = layer.block;
    weight.block.has_bias = (*random)() % 2 == 0;
    for (int k = 0; k < layer.block.num_levels; ++k) add_level(k, random);
    for (int c = 0; c < g.out_c; ++c) {
      scale.push_back(c % 11 == 5 ? 0.0f : any_float(0.001f, 0.05f, random));
      bias.push_back(any_float(-1, 1, random));
    }
    const float low = any_float(-4, 0, random), high = any_float(0, 4, random);
    input.resize(static_cast<size_t>(g.batches) * g.in_h * g.in_w * g.in_c);
    for (float& value : input) value = any_float(low, high, random);
  }

  static NaiveLayer make_layer(const Geometry& g, bool depthwise, std::mt19937* random) {
    const auto taps = static_cast<uint32_t>(g.window.kernel_h * g.window.kernel_w);
    return {depthwise ? nq::Layout::kDepthwise : nq::Layout::kMatrix,
            static_cast<uint32_t>(g.out_c),
            depthwise ? taps : taps * static_cast<uint32_t>(g.in_c),
            {5, 3},
            nq_test::Codes::kRandom,
            random};
  }

  void add_level(int k, std::mt19937* random) {
    const auto at = static_cast<size_t>(k);
    std::vector<uint8_t>& bytes = levels[at];
    bytes.assign(layer.levels[at].begin(), layer.levels[at].end());
    const bool has_deltas = weight.block.has_bias && (*random)() % 2 == 0;
    weight.block.levels[k].bias_step = has_deltas ? 0.75f : 0;
    if (has_deltas) {
      for (int c = 0; c < geometry.out_c; ++c) bytes.push_back(static_cast<uint8_t>((*random)()));
      bytes.resize(nq::level_bytes(weight.block, k));
    }
    weight.levels[at] = {bytes.data(), bytes.size()};
  }

  float bias_of(int level, size_t c) const {
    if (weight.block.levels[level].bias_step == 0) return bias[c];
    const std::vector<uint8_t>& bytes = levels[static_cast<size_t>(level)];
    const auto delta = static_cast<int8_t>(bytes[layer.levels[static_cast<size_t>(level)].size() + c]);
    return bias[c] + static_cast<float>(delta) * 0.75f * scale[c];
  }

  // The codes that a group of floats gets, and what they mean.
  nq::ActivationQuantization quantized(size_t first, size_t size, std::vector<int8_t>* codes) const {
    const nq::QuantizeKernel& scalar = **nq::kernels_of<nq::QuantizeKernel>().begin();
    const nq::ActivationQuantization quantization = nq::quantization_of(scalar.find_range(input.data() + first, size));
    codes->resize(size);
    nq::quantize(scalar, input.data() + first, size, quantization, codes->data());
    return quantization;
  }

  // By the definition of a convolution: the sum of one image at one place.
  int64_t sum_of(const std::vector<int8_t>& image, int zero_point, int level, int y, int x, int c) const {
    const Geometry& g = geometry;
    const bool depthwise = weight.block.layout == nq::Layout::kDepthwise;
    int64_t sum = 0;
    for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
      const int in_y = y * g.window.stride_h - g.pad_top + tap / g.window.kernel_w * g.window.dilation_h;
      const int in_x = x * g.window.stride_w - g.pad_left + tap % g.window.kernel_w * g.window.dilation_w;
      if (in_y < 0 || in_y >= g.in_h || in_x < 0 || in_x >= g.in_w) continue;
      const int8_t* pixel = image.data() + (static_cast<size_t>(in_y) * g.in_w + in_x) * g.in_c;
      for (int i = depthwise ? c : 0; i < (depthwise ? c + 1 : g.in_c); ++i) {
        const int at = depthwise ? tap : tap * g.in_c + i;
        sum +=
            int64_t{pixel[i] - zero_point} * layer.weight(level, static_cast<uint32_t>(c), static_cast<uint32_t>(at));
      }
    }
    return sum;
  }

  float finished(int64_t sum, float row_scale, int level, size_t c) const {
    const float value = static_cast<float>(sum) * (row_scale * scale[c]) + bias_of(level, c);
    return std::isnan(value) ? value : std::min(std::max(value, low), high);
  }

  // Of each result.
  std::vector<float> expected(int level) const {
    std::vector<float> output = clamped(level);
    const nq::ElementwiseKernel& scalar = **nq::kernels_of<nq::ElementwiseKernel>().begin();
    if (function != nullptr) (scalar.floats.*function)(output.data(), output.size(), output.data());
    return output;
  }

  std::vector<float> clamped(int level) const {
    const Geometry& g = geometry;
    const bool rows = grouping == Grouping::kRow;
    const auto groups = static_cast<int>(rows ? g.pixels() : g.batches);
    const size_t size = input.size() / static_cast<size_t>(groups);
    std::vector<float> output;
    std::vector<int8_t> codes;
    for (int group = 0; group < groups; ++group) {
      const nq::ActivationQuantization q = quantized(static_cast<size_t>(group) * size, size, &codes);
      for (int pixel = 0; pixel < (rows ? 1 : g.out_h * g.out_w); ++pixel) {
        for (int c = 0; c < g.out_c; ++c) {
          const int64_t sum = sum_of(codes, q.zero_point, level, pixel / g.out_w, pixel % g.out_w, c);
          output.push_back(finished(sum, q.scale, level, static_cast<size_t>(c)));
        }
      }
    }
    return output;
  }

  Geometry geometry;
  Grouping grouping = Grouping::kImage;
  NaiveLayer layer;
  nq::NestedWeight weight;
  std::vector<uint8_t> levels[2];
  std::vector<float> scale, bias, input;
  float low = -5, high = 6;
  nq::ElementwiseKernel::Floats::Unary nq::ElementwiseKernel::Floats::* function = nullptr;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <typename Layer, typename Kernel>
void check_layer(const TestLayer& test, const Kernel& kernel) {
  const nq::QuantizeKernel* quantize = nullptr;
  CHECK_OK(nq::select_kernel(kernel.isa, &quantize));
  nq::PaddingRow padding;
  Layer layer(kernel, test.weight.block, &padding);
  layer.reshape(test.geometry);
  nq::DynamicLayer dynamic(*quantize, test.weight,
                           {test.grouping, test.scale.data(), test.bias.data(), test.low, test.high});
  const nq::ElementwiseKernel* elementwise = nullptr;
  CHECK_OK(nq::select_kernel(kernel.isa, &elementwise));
  if (test.function != nullptr) dynamic.apply(elementwise->floats.*test.function);
  nq::ResultRange of_input;
  of_input.add(quantize->find_range(test.input.data(), test.input.size()));
  if (test.function != nullptr) dynamic.use_range(&of_input);
  const nq::ResultRange& range = *dynamic.tell_range();
  nq::ThreadPool pool;
  for (const int level : {1, 0, 1}) {
    const std::vector<float> expected = test.expected(level);
    for (const int threads : {1, 2, 3}) {
      pool.resize(threads);
      std::vector<float> output(static_cast<size_t>(test.geometry.pixels()) * test.geometry.out_c, kNan);
      dynamic.run(&layer, level, test.input.data(), output.data(), &pool);
      CHECK(same_bits(expected, output));
      const nq::FloatRange found = quantize->find_range(output.data(), output.size()), told = range.get();
      CHECK((found.min == told.min && found.max == told.max) || (std::isnan(found.min) && std::isnan(told.min)));
    }
  }
}

template <typename Layer, typename Kernels>
void check_layers(const TestLayer& test, const Kernels& kernels) {
  for (const auto* kernel : kernels) {
    if (kernel->supported()) check_layer<Layer>(test, *kernel);
  }
}

Geometry dense_geometry(int rows, int in_c, int out_c) {
  Geometry g;
  g.in_w = g.out_w = rows;
  g.in_c = in_c;
  g.out_c = out_c;
  return g;
}

TEST(convolutions_of_every_geometry) {
  std::mt19937 random(11);
  for (int i = 0; i < 25; ++i) {
    check_layers<nq::Convolution>(TestLayer(nq_test::any_geometry(&random, false), false, &random),
                                  nq::kernels_of<nq::GemmKernel>());
  }
}

TEST(depthwise_convolutions_of_every_geometry) {
  std::mt19937 random(12);
  for (int i = 0; i < 25; ++i) {
    check_layers<nq::DepthwiseConvolution>(TestLayer(nq_test::any_geometry(&random, true), true, &random),
                                           nq::kernels_of<nq::DepthwiseKernel>());
  }
}

// Threads share out pixels, or the channels of few pixels.
TEST(functions_of_the_results) {
  std::mt19937 random(17);
  for (int i = 0; i < 6; ++i) {
    for (const bool depthwise : {false, true}) {
      const bool is_dense = i % 3 == 2 && !depthwise;
      const Geometry g = is_dense ? dense_geometry(2, 40, 200) : nq_test::any_geometry(&random, depthwise);
      TestLayer test(g, depthwise, &random);
      test.function = i % 2 == 0 ? &nq::ElementwiseKernel::Floats::swish : &nq::ElementwiseKernel::Floats::gelu;
      if (depthwise) check_layers<nq::DepthwiseConvolution>(test, nq::kernels_of<nq::DepthwiseKernel>());
      if (!depthwise) check_layers<nq::Convolution>(test, nq::kernels_of<nq::GemmKernel>());
    }
  }
}

// Kernels have paths of their own for these.
TEST(common_depthwise_windows) {
  std::mt19937 random(15);
  for (const int size : {3, 5}) {
    for (const int stride : {1, 2}) {
      for (const int width : {2, 3, 12}) {
        Geometry g;
        g.window = {size, size, stride, stride, 1, 1, true};
        g.in_h = 4, g.in_w = width, g.in_c = g.out_c = 20 + 40 * (width % 2);
        nq::place_window(&g);
        TestLayer test(g, true, &random);
        if (width % 2 == 0) test.low = -nq_test::kInfinity, test.high = nq_test::kInfinity;
        check_layers<nq::DepthwiseConvolution>(test, nq::kernels_of<nq::DepthwiseKernel>());
      }
    }
  }
}

TEST(dense_rows_each_have_their_own_scale) {
  std::mt19937 random(13);
  for (const int rows : {1, 2, 7, 50}) {
    for (const int in_c : {1, 4, 33, 64}) {
      TestLayer test(dense_geometry(rows, in_c, 19), false, &random);
      test.grouping = Grouping::kRow;
      if (rows > 2) test.low = -nq_test::kInfinity, test.high = nq_test::kInfinity;
      for (size_t i = 0; i < test.input.size(); ++i) test.input[i] *= static_cast<float>(i / static_cast<size_t>(in_c));
      check_layers<nq::Convolution>(test, nq::kernels_of<nq::GemmKernel>());
    }
  }
}

// More rows than are quantized together, and images that several threads quantize.
TEST(large_inputs) {
  std::mt19937 random(14);
  const nq::GemmKernel* kernel = nullptr;
  CHECK_OK(nq::select_kernel(nullptr, &kernel));
  TestLayer rows(dense_geometry(16500, 64, 3), false, &random);
  rows.grouping = Grouping::kRow;
  check_layer<nq::Convolution>(rows, *kernel);
  Geometry g;
  g.window.kernel_h = g.window.kernel_w = 3;
  g.window.same_padding = true;
  g.batches = 2, g.in_h = 30, g.in_w = 31, g.in_c = 20, g.out_c = 5;
  nq::place_window(&g);
  check_layer<nq::Convolution>(TestLayer(g, false, &random), *kernel);
}

// Of the images (or rows) that have one, and of no other.
TEST(what_is_not_finite_gives_nan) {
  std::mt19937 random(15);
  Geometry g;
  g.window.kernel_h = g.window.kernel_w = 3;
  g.window.same_padding = true;
  g.batches = 3, g.in_h = 5, g.in_w = 4, g.in_c = g.out_c = 6;
  nq::place_window(&g);
  TestLayer images(g, false, &random);
  images.input[130] = kNan;
  images.input[240] = -std::numeric_limits<float>::infinity();
  const std::vector<float> output = images.expected(1);
  for (size_t i = 0; i < output.size(); ++i) CHECK_EQ(i >= 120, std::isnan(output[i]));
  check_layers<nq::Convolution>(images, nq::kernels_of<nq::GemmKernel>());
  TestLayer depthwise(g, true, &random);
  depthwise.input[130] = kNan;
  check_layers<nq::DepthwiseConvolution>(depthwise, nq::kernels_of<nq::DepthwiseKernel>());
  TestLayer rows(dense_geometry(7, 33, 20), false, &random);
  rows.grouping = Grouping::kRow;
  rows.input[33] = std::numeric_limits<float>::infinity();
  check_layers<nq::Convolution>(rows, nq::kernels_of<nq::GemmKernel>());
}

}  // namespace
