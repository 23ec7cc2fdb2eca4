// Quantization at run time: every kernel of this build that the CPU supports gives the specification's bytes, and those
// are XNNPACK's arithmetic.
#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "check.h"
#include "guarded.h"

namespace {

using nq::ActivationQuantization;
using nq::FloatRange;
using nq::QuantizeKernel;
using nq_test::Guarded;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kCounts[] = {0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 200};

std::vector<const QuantizeKernel*> supported_kernels() {
  std::vector<const QuantizeKernel*> supported;
  for (const QuantizeKernel* kernel : nq::kernels_of<nq::QuantizeKernel>()) {
    if (kernel->supported()) supported.push_back(kernel);
  }
  return supported;
}

// The last one ends at a closed page.
Guarded<float> any_floats(size_t count, float low, float high, std::mt19937* random) {
  Guarded<float> floats(count);
  for (float& value : floats) value = low + (high - low) * static_cast<float>((*random)() % 4096) / 4095;
  return floats;
}

bool same_bits(FloatRange a, FloatRange b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

TEST(ranges_have_zero_in_them) {
  std::mt19937 random(1);
  for (const size_t count : kCounts) {
    for (const auto& [low, high] : {std::pair(-3.0f, 5.0f), std::pair(2.0f, 5.0f), std::pair(-5.0f, -2.0f)}) {
      const Guarded<float> floats = any_floats(count, low, high, &random);
      FloatRange expected = {0, 0};
      for (const float value : floats) {
        expected = {std::min(expected.min, value), std::max(expected.max, value)};
      }
      for (const QuantizeKernel* kernel : supported_kernels()) {
        CHECK(same_bits(expected, kernel->find_range(floats.data(), count)));
      }
    }
  }
}

TEST(zeros_of_both_signs_give_one_range) {
  const std::vector<float> zeros = {-0.0f, 0.0f, -0.0f};
  for (const QuantizeKernel* kernel : supported_kernels()) {
    CHECK(same_bits({0, 0}, kernel->find_range(zeros.data(), zeros.size())));
  }
}

TEST(one_nan_is_found_wherever_it_is) {
  std::mt19937 random(2);
  for (const size_t count : kCounts) {
    const Guarded<float> floats = any_floats(count, -1, 1, &random);
    for (size_t i = 0; i < count; ++i) {
      const float kept = std::exchange(floats[i], kNan);
      for (const QuantizeKernel* kernel : supported_kernels()) {
        const FloatRange range = kernel->find_range(floats.data(), count);
        CHECK(std::isnan(range.min) && std::isnan(range.max));
      }
      floats[i] = kept;
    }
  }
  CHECK(std::isnan(nq::join({-1, 2}, {kNan, kNan}).min) && std::isnan(nq::join({kNan, kNan}, {-1, 2}).max));
  CHECK(same_bits({-3, 2}, nq::join({-1, 2}, {-3, 1})));
}

// Within half a step, zero exactly, and the greatest and least values not beyond the codes by more.
TEST(codes_are_near_and_zero_is_exact) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const float low = -static_cast<float>(random() % 1000) / 100, high = static_cast<float>(random() % 1000) / 100;
    const Guarded<float> floats = any_floats(129, low, high, &random);
    const ActivationQuantization q = nq::quantization_of(supported_kernels()[0]->find_range(floats.data(), 129));
    CHECK(q.zero_point >= -128 && q.zero_point <= 127);
    std::vector<int8_t> codes(129);
    nq::quantize(*supported_kernels()[0], floats.data(), 129, q, codes.data());
    for (size_t i = 0; i < 129; ++i) {
      const double real = double{q.scale} * (codes[i] - q.zero_point);
      CHECK(std::abs(real - floats[i]) <= 1.0001 * q.scale);
      if (floats[i] == 0) {
        CHECK_EQ(q.zero_point, int{codes[i]});
      }
    }
  }
}

// By hand from XNNPACK's xnn_qd8_asymmetric_quantization_params.
TEST(scales_and_zero_points) {
  const struct {
    FloatRange range;
    float inverse_scale;
    int32_t zero_point;
  } cases[] = {{{0, 255}, 1, -128},  {{-255, 0}, 1, 127},        {{-1, 1}, 127.5f, 0},     {{-127.5f, 127.5f}, 1, 0},
               {{-1, 254}, 1, -127}, {{-0.5f, 254.5f}, 1, -128}, {{-128, 382}, 0.5f, -64}, {{-1.5f, 253.5f}, 1, -126}};
  for (const auto& each : cases) {
    const ActivationQuantization q = nq::quantization_of(each.range);
    CHECK_EQ(each.inverse_scale, q.inverse_scale);
    CHECK_EQ(1 / each.inverse_scale, q.scale);
    CHECK_EQ(each.zero_point, q.zero_point);
  }
}

// Zero, the least and the greatest float share all codes, and every float is within half a step; the two ends, which
// the zero point's own rounding may cut off, within a whole one.
TEST(groups_use_all_codes) {
  std::mt19937 random(5);
  for (const QuantizeKernel* kernel : supported_kernels()) {
    for (const size_t count : {32, 64, 128}) {
      Guarded<float> floats = any_floats(count, -3, 3, &random);
      for (const float end : {-7.5f, 7.5f}) {
        floats[random() % count] = end;
        const auto [least, greatest] = std::minmax_element(floats.begin(), floats.end());
        const double step = (double{*greatest} - double{*least}) / 255;
        std::vector<int8_t> codes(count);
        const ActivationQuantization found = nq::quantize_group(*kernel, floats.data(), count, codes.data());
        CHECK(std::abs(found.scale - step) <= 1e-6 * step);
        for (size_t i = 0; i < count; ++i) {
          const bool is_end = codes[i] == -128 || codes[i] == 127;
          CHECK(std::abs(step * (codes[i] - found.zero_point) - floats[i]) <= (is_end ? 1.0001 : 0.5001) * step);
        }
        CHECK(*std::max_element(codes.begin(), codes.end()) - *std::min_element(codes.begin(), codes.end()) >= 254);
      }
    }
  }
}

TEST(groups_without_numbers_have_no_codes) {
  const struct {
    float value, scale;
  } cases[] = {{kNan, kNan},
               {kInfinity, kNan},
               {-kInfinity, kNan},
               {0, 0},
               {-0.0f, 0},
               {0x1p-81f, 0},
               {-1e-45f, 0},
               {0x1p-80f, 0x1p-80f / 255},
               {-1, 1 / 255.0f},
               {3e38f, 3e38f / 255},
               {-3.4e38f, 3.4e38f / 255}};
  for (const QuantizeKernel* kernel : supported_kernels()) {
    for (const auto& each : cases) {
      Guarded<float> floats(32);
      std::fill(floats.begin(), floats.end(), 0.0f);
      floats[17] = each.value;
      std::vector<int8_t> codes(32, 1);
      const ActivationQuantization found = nq::quantize_group(*kernel, floats.data(), 32, codes.data());
      CHECK(std::isnan(each.scale) ? std::isnan(found.scale)
                                   : std::abs(found.scale - each.scale) <= 1e-6f * each.scale);
      const int zero = found.scale > 0 ? (each.value < 0 ? 127 : -128) : 0, end = found.scale > 0 ? -1 - zero : 0;
      CHECK_EQ(zero, found.zero_point);
      for (size_t i = 0; i < 32; ++i) CHECK_EQ(i == 17 ? end : zero, int{codes[i]});
    }
  }
}

TEST(every_kernel_rounds_alike) {
  std::mt19937 random(4);
  for (const size_t count : kCounts) {
    for (const int32_t zero_point : {-128, -5, 0, 127}) {
      const Guarded<float> floats = any_floats(count, -255, 255, &random);
      for (float& value : floats) {
        if (random() % 2 == 0) value = std::floor(value) + 0.5f;  // ties
      }
      for (const float inverse_scale : {1.0f, 0.37f}) {
        for (const QuantizeKernel* kernel : supported_kernels()) {
          const Guarded<int8_t> codes(count);
          kernel->quantize(floats.data(), count, inverse_scale, zero_point, codes.data());
          for (size_t i = 0; i < count; ++i) {
            const float code = std::nearbyint(floats[i] * inverse_scale) + static_cast<float>(zero_point);
            CHECK_EQ(static_cast<int>(std::min(std::max(code, -128.0f), 127.0f)), int{codes[i]});
          }
        }
      }
    }
  }
}

TEST(ranges_that_are_not_finite_give_a_scale_that_is_not) {
  const float greatest = std::numeric_limits<float>::max();
  for (const FloatRange range : {FloatRange{kNan, kNan}, FloatRange{0, kInfinity}, FloatRange{-kInfinity, 0},
                                 FloatRange{-kInfinity, kInfinity}, FloatRange{-greatest, greatest}}) {
    const ActivationQuantization q = nq::quantization_of(range);
    CHECK(std::isnan(q.scale));
    const std::vector<float> floats = {kNan, -kInfinity, greatest};
    std::vector<int8_t> codes(3, 77);
    for (const QuantizeKernel* kernel : supported_kernels()) {
      nq::quantize(*kernel, floats.data(), 3, q, codes.data());
      CHECK(codes == std::vector<int8_t>(3, 0));
    }
  }
  CHECK(std::isfinite(nq::quantization_of({0, greatest}).scale));
}

TEST(nothing_but_zeros_is_exact) {
  const float least = std::numeric_limits<float>::denorm_min();
  for (const FloatRange range : {FloatRange{0, 0}, FloatRange{-least, 0}, FloatRange{0, 4e-37f}}) {
    const ActivationQuantization q = nq::quantization_of(range);
    CHECK(q.scale == 1);
    const std::vector<float> floats = {0, -0.0f};
    std::vector<int8_t> codes(2);
    nq::quantize(*supported_kernels()[0], floats.data(), 2, q, codes.data());
    CHECK(codes[0] == q.zero_point && codes[1] == q.zero_point);
  }
}

}  // namespace
