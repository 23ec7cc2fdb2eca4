// Functions of floats between layers: near those of real numbers, and the same bytes from every kernel.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "guarded.h"
#include "kernels/kernels.h"
#include "layers/pooling.h"
#include "layers/resize.h"
#include "layers/softmax.h"

namespace {

using Floats = nq::ElementwiseKernel::Floats;
using nq_test::Guarded;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

std::vector<const nq::ElementwiseKernel*> supported_kernels() {
  std::vector<const nq::ElementwiseKernel*> kernels;
  for (const nq::ElementwiseKernel* kernel : nq::kernels_of<nq::ElementwiseKernel>()) {
    if (kernel->supported()) kernels.push_back(kernel);
  }
  return kernels;
}

const nq::ElementwiseKernel& base() { return **nq::kernels_of<nq::ElementwiseKernel>().begin(); }

// Close together near 0, and on to where the functions no longer change.
std::vector<float> many_reals() {
  std::vector<float> reals = {0.0f, -0.0f, 1e-30f, -1e-30f, 200.0f, -200.0f, 3e38f, -3e38f};
  for (int i = -120'000; i <= 120'000; ++i) reals.push_back(static_cast<float>(i) * 1e-3f);
  for (int i = -5'000; i <= 5'000; ++i) reals.push_back(static_cast<float>(i) * 1e-6f);
  return reals;
}

std::vector<float> random_reals(size_t count, float spread, std::mt19937* random) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> reals(count);
  for (float& real : reals) real = normal(*random);
  return reals;
}

// Relative to the exact result, which counts as 0 where floats are subnormal.
template <typename Exact>
void check_near(Floats::Unary function, const Exact& exact) {
  constexpr double kLeast = 1e-30;
  const std::vector<float> in = many_reals();
  std::vector<float> out(in.size());
  function(in.data(), in.size(), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    const double wanted = exact(static_cast<double>(in[i]));
    if (std::isinf(wanted)) {
      ASSERT_EQ(wanted, static_cast<double>(out[i]));
    } else {
      ASSERT_NEAR(wanted, static_cast<double>(out[i]), 4e-7 * std::max(std::abs(wanted), kLeast)) << "of " << in[i];
    }
  }
}

TEST(functions_are_near_those_of_real_numbers) {
  const Floats& floats = base().floats;
  check_near(floats.logistic, [](double x) { return 1 / (1 + std::exp(-x)); });
  check_near(floats.tanh, [](double x) { return std::tanh(x); });
  check_near(floats.elu, [](double x) { return x < 0 ? std::expm1(x) : x; });
  check_near(floats.hard_swish, [](double x) {
    // Not finite for the greatest ones, whose product with 6 is beyond what floats hold.
    return x > 1e38 ? static_cast<double>(kInfinity) : x * std::min(std::max(x + 3, 0.0), 6.0) / 6;
  });
}

TEST(gelu_is_near_that_of_real_numbers) {
  const std::vector<float> in = many_reals();
  std::vector<float> exact(in.size()), by_tanh(in.size());
  base().floats.gelu(in.data(), in.size(), exact.data());
  base().floats.gelu_by_tanh(in.data(), in.size(), by_tanh.data());
  for (size_t i = 0; i < in.size(); ++i) {
    const auto x = static_cast<double>(in[i]);
    const double tolerance = 4e-7 * std::max(std::abs(x), 1e-30);
    ASSERT_NEAR(x / 2 * std::erfc(-x / std::sqrt(2.0)), static_cast<double>(exact[i]), tolerance) << "of " << x;
    if (std::abs(x) > 1e12) continue;  // whose cube is beyond what floats hold
    const double inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    ASSERT_NEAR(x / 2 * (1 + std::tanh(inner)), static_cast<double>(by_tanh[i]), tolerance) << "of " << x;
  }
}

TEST(swish_is_near_that_of_real_numbers) {
  const std::vector<float> in = many_reals();
  std::vector<float> out(in.size());
  base().floats.swish(in.data(), in.size(), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    const auto x = static_cast<double>(in[i]);
    ASSERT_NEAR(x / (1 + std::exp(-x)), static_cast<double>(out[i]), 4e-7 * std::max(std::abs(x), 1e-30)) << "of " << x;
  }
}

// Of tiles of every height and width, and where the second matrix lies as it is, turned, and with other rows between.
TEST(products_of_matrices) {
  std::mt19937 random(5);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const auto& [rows, depth, columns] : std::vector<std::array<size_t, 3>>{
             {1, 1, 1}, {3, 7, 15}, {8, 64, 16}, {24, 5, 32}, {19, 33, 50}, {23, 2, 33}, {9, 197, 64}}) {
      const auto deep = static_cast<int64_t>(depth), wide = static_cast<int64_t>(columns);
      for (const auto& [depth_stride, column_stride] :
           std::vector<std::array<int64_t, 2>>{{wide, 1}, {1, deep}, {wide + 3, 1}, {2, 2 * deep + 1}}) {
        const auto span = static_cast<size_t>((deep - 1) * depth_stride + (wide - 1) * column_stride + 1);
        const Guarded<float> a(random_reals((rows - 1) * (depth + 2) + depth, 1, &random));
        const Guarded<float> b(random_reals(span, 1, &random));
        const nq::PanelSource source = {depth, columns, depth_stride, column_stride};
        const Guarded<float> panels(nq::panel_floats(depth, columns), 0.5f), own(panels.size(), 0.5f);
        kernel->floats.pack_panels(b.data(), source, panels.data());
        base().floats.pack_panels(b.data(), source, own.data());
        CHECK_EQ(0, std::memcmp(panels.data(), own.data(), own.size() * sizeof(float)));
        const nq::PanelProduct product = {rows, depth, columns, deep + 2, wide + 1};
        const Guarded<float> out((rows - 1) * (columns + 1) + columns, 0.5f), wanted(out.size(), 0.5f);
        kernel->floats.multiply_panels(product, a.data(), panels.data(), out.data());
        base().floats.multiply_panels(product, a.data(), panels.data(), wanted.data());
        CHECK_EQ(0, std::memcmp(out.data(), wanted.data(), out.size() * sizeof(float)));
        for (size_t i = 0; i < out.size(); ++i) {
          const size_t row = i / (columns + 1), column = i % (columns + 1);
          double sum = column == columns ? 0.5 : 0.0;  // between two rows nothing is written
          for (size_t k = 0; k < depth && column < columns; ++k) {
            const auto place = static_cast<size_t>(static_cast<int64_t>(k) * depth_stride +
                                                   static_cast<int64_t>(column) * column_stride);
            sum += static_cast<double>(a[row * (depth + 2) + k]) * static_cast<double>(b[place]);
          }
          ASSERT_NEAR(sum, static_cast<double>(out[i]), 1e-4);
        }
      }
    }
  }
}

#if !defined(__arm__)
TEST(each_step_of_a_product_is_rounded_once) {
  std::mt19937 random(6);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (int round = 0; round < 20000; ++round) {
      const auto pick = [&] {
        return std::ldexp(random_reals(1, 1, &random)[0], static_cast<int>(random() % 60) - 30);
      };
      const float a[] = {pick(), 1.0f};
      float panel[2 * nq::kPanelColumns] = {}, out = 0;
      panel[0] = 1.0f, panel[nq::kPanelColumns] = pick();
      panel[0] = a[0] == 0 ? 1.0f : std::nextafter(panel[nq::kPanelColumns] / a[0], pick());  // which nearly cancels
      kernel->floats.multiply_panels({1, 2, 1, 2, 1}, a, panel, &out);
      const float first = std::fma(a[0], panel[0], 0.0f);
      CHECK_EQ(std::fma(1.0f, panel[nq::kPanelColumns], first), out);
      const float turned[] = {1.0f, a[0]};
      const float other[2 * nq::kPanelColumns] = {
          panel[nq::kPanelColumns], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -panel[0]};
      kernel->floats.multiply_panels({1, 2, 1, 2, 1}, turned, other, &out);
      CHECK_EQ(std::fma(a[0], -panel[0], panel[nq::kPanelColumns]), out);
    }
  }
}
#endif

TEST(normalized_rows) {
  std::mt19937 random(7);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const size_t count : {1, 2, 15, 16, 33, 384, 1000}) {
      const Guarded<float> in(random_reals(count, 3, &random)), gamma(random_reals(count, 1, &random));
      const Guarded<float> beta(random_reals(count, 1, &random)), out(count), plain(count), wanted(count);
      kernel->floats.normalize(in.data(), count, 0.01f, gamma.data(), beta.data(), out.data());
      kernel->floats.normalize(in.data(), count, 0.01f, nullptr, nullptr, plain.data());
      base().floats.normalize(in.data(), count, 0.01f, gamma.data(), beta.data(), wanted.data());
      CHECK_EQ(0, std::memcmp(out.data(), wanted.data(), count * sizeof(float)));
      double mean = 0, variance = 0;
      for (const float x : in) mean += static_cast<double>(x) / static_cast<double>(count);
      for (const float x : in) variance += std::pow(static_cast<double>(x) - mean, 2) / static_cast<double>(count);
      for (size_t i = 0; i < count; ++i) {
        const double exact = (static_cast<double>(in[i]) - mean) / std::sqrt(variance + 0.01);
        EXPECT_NEAR(exact, static_cast<double>(plain[i]), 1e-5);
        EXPECT_NEAR(exact * static_cast<double>(gamma[i]) + static_cast<double>(beta[i]), static_cast<double>(out[i]),
                    1e-5);
      }
    }
  }
}

TEST(what_is_not_a_number_stays_so) {
  const float in[] = {kNan, kInfinity, -kInfinity};
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    const auto of = [&](Floats::Unary function) {
      std::vector<float> out(3);
      function(in, 3, out.data());
      EXPECT_TRUE(std::isnan(out[0]));
      return std::vector<float>{out[1], out[2]};
    };
    CHECK((of(kernel->floats.logistic) == std::vector<float>{1, 0}));
    CHECK((of(kernel->floats.tanh) == std::vector<float>{1, -1}));
    CHECK((of(kernel->floats.elu) == std::vector<float>{kInfinity, -1}));
    CHECK(of(kernel->floats.swish)[0] == kInfinity && std::abs(of(kernel->floats.swish)[1]) < 1e-35f);
    float clamped[3];
    kernel->floats.clamp(in, 3, 0, 6, clamped);
    CHECK(std::isnan(clamped[0]) && clamped[1] == 6 && clamped[2] == 0);
    for (size_t place = 0; place < 40; place += 13) {
      std::vector<float> row(40, 1.0f);
      row[place] = kNan;
      CHECK(std::isnan(kernel->floats.greatest(row.data(), row.size())));
    }
  }
}

TEST(softmax_is_that_of_real_numbers) {
  std::mt19937 random(1);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const int64_t count : {1, 2, 15, 16, 17, 100, 1001}) {
      const Guarded<float> in(random_reals(static_cast<size_t>(count), 5, &random)), out(static_cast<size_t>(count));
      if (count > 20) in[7] = -kInfinity;  // a masked place
      nq::FloatSoftmax(*kernel, 0.7f).run_row(in.data(), count, out.data());
      double sum = 0;
      for (const float x : in) sum += std::exp(0.7 * static_cast<double>(x));
      for (size_t i = 0; i < in.size(); ++i) {
        const double wanted = std::exp(0.7 * static_cast<double>(in[i])) / sum;
        EXPECT_NEAR(wanted, static_cast<double>(out[i]), 3e-6 * wanted);
      }
    }
  }
}

// At any length and behind closed pages.
TEST(kernels_agree) {
  std::mt19937 random(2);
  const Floats& scalar = base().floats;
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (size_t count = 0; count < 100; ++count) {
      const Guarded<float> in(random_reals(count, 20, &random));
      if (count > 9) in[1] = kNan, in[2] = kInfinity, in[3] = -kInfinity, in[4] = 3e38f, in[5] = -0.0f, in[6] = -1e-40f;
      const auto check_same = [&](const auto& apply) {
        const Guarded<float> got(count, 0.5f), wanted(count, 0.5f);
        apply(kernel->floats, got.data());
        apply(scalar, wanted.data());
        CHECK_EQ(0, std::memcmp(got.data(), wanted.data(), count * sizeof(float)));
      };
      for (const auto unary :
           {&Floats::logistic, &Floats::tanh, &Floats::elu, &Floats::hard_swish, &Floats::gelu, &Floats::gelu_by_tanh,
            &Floats::swish, &Floats::negate, &Floats::square, &Floats::root, &Floats::inverse_root}) {
        check_same([&](const Floats& floats, float* out) { (floats.*unary)(in.data(), count, out); });
        check_same([&](const Floats& floats, float* out) {
          const bool in_place = &floats != &scalar;
          if (in_place) std::copy(in.begin(), in.end(), out);
          (floats.*unary)(in_place ? out : in.data(), count, out);
        });
      }
      const Guarded<float> other(random_reals(count, 20, &random));
      for (const auto binary : {&Floats::add, &Floats::subtract, &Floats::multiply, &Floats::divide,
                                &Floats::difference_squared, &Floats::greater, &Floats::lesser}) {
        for (const int64_t step : {0, 1}) {
          check_same([&](const Floats& floats, float* out) {
            if (count > 0) (floats.*binary)({in.data(), other.data(), 1, step}, -1e9f, 1e9f, count, out);
          });
          check_same([&](const Floats& floats, float* out) {
            const bool in_place = &floats != &scalar && count > 0;
            if (in_place) std::copy(in.begin(), in.end(), out);
            if (count > 0) {
              (floats.*binary)({in_place ? out : in.data(), other.data(), 1, step}, -1e9f, 1e9f, count, out);
            }
          });
        }
      }
      check_same([&](const Floats& floats, float* out) { floats.leak(in.data(), count, 0.1f, out); });
      check_same([&](const Floats& floats, float* out) { floats.clamp(in.data(), count, -1, 6, out); });
      check_same([&](const Floats& floats, float* out) { floats.scale(out, count, 0.3f); });
      check_same([&](const Floats& floats, float* out) { floats.raise(in.data(), count, out); });
      check_same([&](const Floats& floats, float* out) { floats.add_to(in.data(), count, out); });
      if (count == 0) continue;
      const Guarded<float> finite(random_reals(count, 20, &random));
      const float greatest = *std::max_element(finite.begin(), finite.end());
      CHECK_EQ(greatest, kernel->floats.greatest(finite.data(), count));
      CHECK_EQ(scalar.sum(finite.data(), count), kernel->floats.sum(finite.data(), count));
      CHECK_EQ(scalar.sum_squares(finite.data(), count, 0.3f), kernel->floats.sum_squares(finite.data(), count, 0.3f));
      for (const bool moves : {false, true}) {
        const nq::NormTerms terms = {0.3f, 0.7f, finite.data(), moves ? other.data() : nullptr};
        check_same([&](const Floats& floats, float* out) { floats.apply_norm(in.data(), 1, count, terms, out); });
        check_same([&](const Floats& floats, float* out) {
          floats.apply_norm(in.data(), count % 2 == 0 ? 2 : 1, count % 2 == 0 ? count / 2 : count, terms, out);
        });
      }
      check_same([&](const Floats& floats, float* out) {
        out[0] = floats.exponentials(finite.data(), count, greatest, 0.4f, out);
      });
    }
  }
}

TEST(pooled_floats) {
  std::mt19937 random(3);
  const auto pick = [&](int from, int to) { return from + static_cast<int>(random() % (to - from + 1)); };
  for (int round = 0; round < 100; ++round) {
    nq::Geometry g;
    g.window = {pick(1, 4), pick(1, 4), pick(1, 3), pick(1, 3), 1, 1, pick(0, 1) == 1};
    g.batches = pick(1, 2), g.in_h = pick(4, 9), g.in_w = pick(4, 9), g.in_c = g.out_c = pick(1, 3) * pick(1, 40);
    nq::place_window(&g);
    const auto channels = static_cast<size_t>(g.in_c);
    const std::vector<float> in = random_reals(static_cast<size_t>(g.batches) * g.in_h * g.in_w * channels, 3, &random);
    const int64_t pixel = pick(0, static_cast<int>(g.pixels()) - 1);
    const Guarded<float> greatest(channels), mean(channels);
    nq::max_pool_floats(base(), g, {-2, 2.5f}, in.data(), {pixel, pixel + 1}, greatest.data());
    nq::average_pool_floats(base(), g, {-2, 2.5f}, in.data(), {pixel, pixel + 1}, mean.data());
    for (size_t c = 0; c < channels; ++c) {
      double most = -2, sum = 0, count = 0;
      for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
        const auto y = pixel / g.out_w % g.out_h * g.window.stride_h - g.pad_top + tap / g.window.kernel_w;
        const auto x = pixel % g.out_w * g.window.stride_w - g.pad_left + tap % g.window.kernel_w;
        if (y < 0 || y >= g.in_h || x < 0 || x >= g.in_w) continue;
        const auto image = pixel / g.out_w / g.out_h;
        const double real =
            static_cast<double>(in[static_cast<size_t>((image * g.in_h + y) * g.in_w + x) * channels + c]);
        most = std::max(most, real), sum += real, count += 1;
      }
      EXPECT_EQ(std::min(most, 2.5), static_cast<double>(greatest[c]));
      EXPECT_NEAR(std::min(std::max(sum / count, -2.0), 2.5), static_cast<double>(mean[c]), 3e-6);
    }
  }
}

// In the order of the taps, each sum rounded, and in place of one of them.
TEST(averages_of_taps) {
  std::mt19937 random(12);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const size_t channels : {1, 15, 16, 33, 64}) {
      std::vector<Guarded<float>> values;
      std::vector<const float*> taps;
      std::vector<float> wanted(channels, 0.0f);
      for (int t = 0; t < 9; ++t) {
        values.emplace_back(random_reals(channels, 1, &random));
        taps.push_back(values.back().data());
        for (size_t c = 0; c < channels; ++c) wanted[c] += values.back()[c];
      }
      for (float& each : wanted) each = std::min(std::max(each * 0.125f, -0.25f), 0.3f);
      kernel->floats.average(taps.data(), taps.size(), {0.125f, -0.25f, 0.3f}, channels, values[4].data());
      CHECK(std::equal(wanted.begin(), wanted.end(), values[4].begin()));
    }
  }
}

TEST(means_over_images_of_floats) {
  std::mt19937 random(4);
  for (const int64_t pixels : {1, 2, 49, 1000}) {
    for (const int64_t channels : {1, 61, 300}) {
      const std::vector<float> in = random_reals(static_cast<size_t>(pixels * channels), 2, &random);
      const auto reduced = [&](auto reduction) {
        std::vector<float> out(static_cast<size_t>(channels));
        reduction.set_pixels(pixels);
        reduction.run(in.data(), channels, 0, channels / 3, out.data());
        reduction.run(in.data(), channels, channels / 3, channels - channels / 3, out.data());
        return out;
      };
      const std::vector<float> means = reduced(nq::FloatImageMean(base())), sums = reduced(nq::FloatImageSum(base()));
      const std::vector<float> greatest = reduced(nq::FloatImageGreatest(base()));
      for (size_t c = 0; c < means.size(); ++c) {
        double sum = 0;
        float most = in[c];
        for (int64_t pixel = 0; pixel < pixels; ++pixel) {
          const float value = in[static_cast<size_t>(pixel * channels) + c];
          sum += static_cast<double>(value);
          most = std::max(most, value);
        }
        EXPECT_NEAR(sum / static_cast<double>(pixels), static_cast<double>(means[c]), 1e-5);
        EXPECT_NEAR(sum, static_cast<double>(sums[c]), 1e-5 * static_cast<double>(pixels));
        ASSERT_EQ(most, greatest[c]);
      }
    }
  }
}

TEST(resized_floats) {
  const std::vector<float> in = {0, 10, 1, 20, 2, 30, 3, 40};  // 2 x 2 pixels of two channels
  const nq::ResizedImage nearest{2, 2, 2, nq::nearest_taps(2, 1, {}), nq::nearest_taps(2, 4, {})};
  const Guarded<float> out(8);
  nq::nearest_row_of_floats(nearest, in.data(), 0, out.data());
  CHECK(std::equal(out.begin(), out.end(), std::vector<float>{0, 10, 0, 10, 1, 20, 1, 20}.begin()));
  const nq::ResizeMode corners{true, false};
  const nq::ResizedImage linear{2, 2, 2, nq::linear_taps(2, 3, corners), nq::linear_taps(2, 4, corners)};
  nq::linear_row_of_floats(linear, in.data(), 1, out.data());  // half way down, in thirds across
  const std::vector<double> wanted = {1, 20, 4 / 3.0, 70 / 3.0, 5 / 3.0, 80 / 3.0, 2, 30};
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(wanted[i], static_cast<double>(out[i]), 1e-5);
}

}  // namespace
