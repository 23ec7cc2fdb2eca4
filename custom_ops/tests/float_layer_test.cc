// Layers of plain float weights: near those of real numbers, and the same bytes from every kernel and any threads.
#include "layers/float_layer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "kernels/kernels.h"
#include "naive_layer.h"

namespace {

using Floats = std::vector<float>;

Floats random_floats(size_t count, std::mt19937* random) {
  std::normal_distribution<float> normal(0.1f, 1.0f);
  Floats floats(count);
  for (float& each : floats) each = normal(*random);
  return floats;
}

struct TestLayer {
  TestLayer(const nq::Geometry& g, bool depthwise, std::mt19937* random) : geometry(g) {
    const auto taps = static_cast<size_t>(g.window.kernel_h * g.window.kernel_w);
    weight.depthwise = depthwise;
    weight.channels = static_cast<size_t>(g.out_c);
    weight.depth = depthwise ? taps : taps * static_cast<size_t>(g.in_c);
    values = random_floats(weight.channels * weight.depth, random);
    bias = random_floats(weight.channels, random);
    input = random_floats(static_cast<size_t>(g.batches) * g.in_h * g.in_w * g.in_c, random);
    weight.values = values.data();
    weight.bias = (*random)() % 3 == 0 ? nullptr : bias.data();
    const bool clamps = (*random)() % 2 == 0;
    weight.low = clamps ? 0 : -std::numeric_limits<float>::infinity();
    weight.high = clamps ? 6 : std::numeric_limits<float>::infinity();
  }

  // By the definition of a convolution.
  double real(int64_t pixel, int c) const {
    const nq::Geometry& g = geometry;
    const nq::Place place = nq::place_of(g, pixel);
    double sum = weight.bias == nullptr ? 0 : static_cast<double>(bias[static_cast<size_t>(c)]);
    for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
      const int64_t y = place.y * g.window.stride_h - g.pad_top + tap / g.window.kernel_w * g.window.dilation_h;
      const int64_t x = place.x * g.window.stride_w - g.pad_left + tap % g.window.kernel_w * g.window.dilation_w;
      if (y < 0 || y >= g.in_h || x < 0 || x >= g.in_w) continue;
      const float* in = input.data() + ((place.batch * g.in_h + y) * g.in_w + x) * g.in_c;
      for (int i = weight.depthwise ? c : 0; i < (weight.depthwise ? c + 1 : g.in_c); ++i) {
        const int at = weight.depthwise ? tap * g.out_c + c : c * static_cast<int>(weight.depth) + tap * g.in_c + i;
        sum += static_cast<double>(in[i]) * static_cast<double>(values[static_cast<size_t>(at)]);
      }
    }
    return std::min(std::max(sum, static_cast<double>(weight.low)), static_cast<double>(weight.high));
  }

  Floats run(const nq::ElementwiseKernel& kernel, int threads, bool swishes) const {
    nq::PaddingRow padding;
    const nq::QuantizeKernel* quantize = nullptr;
    CHECK_OK(nq::select_kernel(kernel.isa, &quantize));
    nq::FloatLayer layer(kernel, *quantize, weight, &padding);
    const nq::ResultRange& range = *layer.tell_range();
    if (swishes) layer.apply(kernel.floats.swish);
    layer.reshape(geometry);
    nq::Geometry in_bytes = geometry;
    in_bytes.in_c *= static_cast<int32_t>(sizeof(float));
    padding.fill(in_bytes, 7);  // what a layer before it left
    nq::ThreadPool pool;
    pool.resize(threads);
    Floats output(static_cast<size_t>(geometry.pixels()) * weight.channels, NAN);
    layer.run(input.data(), output.data(), &pool);
    const nq::FloatRange found = quantize->find_range(output.data(), output.size()), told = range.get();
    CHECK(found.min == told.min && found.max == told.max);
    return output;
  }

  nq::Geometry geometry;
  nq::FloatWeight weight;
  Floats values, bias, input;
};

void check_layer(const TestLayer& test) {
  const nq::ElementwiseKernel& scalar = **nq::kernels_of<nq::ElementwiseKernel>().begin();
  const Floats plain = test.run(scalar, 1, false);
  for (size_t i = 0; i < plain.size(); ++i) {
    const auto c = static_cast<int>(i % test.weight.channels);
    const double wanted = test.real(static_cast<int64_t>(i / test.weight.channels), c);
    const double tolerance = 1e-5 * std::sqrt(static_cast<double>(test.weight.depth));
    ASSERT_NEAR(wanted, static_cast<double>(plain[i]), tolerance);
  }
  Floats swished(plain.size());
  scalar.floats.swish(plain.data(), plain.size(), swished.data());
  for (const nq::ElementwiseKernel* kernel : nq::kernels_of<nq::ElementwiseKernel>()) {
    if (!kernel->supported()) continue;
    for (const int threads : {1, 3}) {
      CHECK_EQ(0, std::memcmp(plain.data(), test.run(*kernel, threads, false).data(), plain.size() * sizeof(float)));
      CHECK_EQ(0, std::memcmp(swished.data(), test.run(*kernel, threads, true).data(), plain.size() * sizeof(float)));
    }
  }
}

TEST(float_layers_of_every_geometry) {
  std::mt19937 random(21);
  for (int i = 0; i < 20; ++i) {
    for (const bool depthwise : {false, true}) {
      check_layer(TestLayer(nq_test::any_geometry(&random, depthwise), depthwise, &random));
    }
  }
}

// A squeezed image, and dense layers, whose rows are read where they are.
TEST(float_layers_of_rows) {
  std::mt19937 random(22);
  for (const int rows : {1, 2, 25, 70}) {
    nq::Geometry g;
    g.in_w = g.out_w = rows;
    g.in_c = 40, g.out_c = 33;
    check_layer(TestLayer(g, false, &random));
  }
}

}  // namespace
