// Arithmetic between layers against definitions in real numbers and in other code, whatever the sizes. That the results
// are those of the runtimes to the bit is tests/device/test_neighbours.py's business.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "check.h"
#include "guarded.h"
#include "kernels/kernels.h"
#include "layers/addition.h"
#include "layers/broadcast.h"
#include "layers/conversion.h"
#include "layers/fixed_point.h"
#include "layers/matrix_product.h"
#include "layers/multiplication.h"
#include "layers/pooling.h"
#include "layers/resize.h"
#include "layers/softmax.h"
#include "layers/table.h"

namespace {

using nq::Quantization;
using nq_test::Guarded;
using Shape = std::vector<int32_t>;

const nq::ElementwiseKernel& elementwise() {
  nq::Kernels kernels;
  CHECK_OK(nq::select_kernels(&kernels));
  return *kernels.elementwise;
}

double real(int code, Quantization q) {
  return (static_cast<double>(code) - q.zero_point) * static_cast<double>(q.scale);
}

double clamped_code(double value, Quantization q) {
  return std::min(std::max(value / static_cast<double>(q.scale) + q.zero_point, -128.0), 127.0);
}

std::vector<int8_t> random_codes(size_t count, std::mt19937* random) {
  std::vector<int8_t> codes(count);
  for (int8_t& code : codes) code = static_cast<int8_t>((*random)());
  return codes;
}

// Element of a tensor that broadcasting reads for the output's element at `place`.
size_t broadcast_index(const Shape& shape, const Shape& place) {
  size_t index = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int32_t at = place[place.size() - shape.size() + axis];
    index = index * static_cast<size_t>(shape[axis]) + static_cast<size_t>(shape[axis] == 1 ? 0 : at);
  }
  return index;
}

// Which elements of a and b each element of the output reads, seen through runs that cover it piece by piece.
void check_broadcast(const Shape& a, const Shape& b, const Shape& expected, int64_t piece) {
  nq::Broadcast broadcast;
  Shape output;
  CHECK(broadcast.set(a, b, &output));
  CHECK(output == expected);
  std::vector<std::pair<int64_t, int64_t>> seen;
  for (int64_t begin = 0; begin < broadcast.elements(); begin += piece) {
    const int64_t end = std::min(begin + piece, broadcast.elements());
    broadcast.for_each_run(begin, end, [&](const nq::BroadcastRun& run) {
      CHECK_EQ(static_cast<int64_t>(seen.size()), run.begin);
      for (int64_t i = 0; i < run.count; ++i) seen.push_back({run.a + i * run.a_step, run.b + i * run.b_step});
    });
  }
  Shape place(output.size(), 0);
  for (const auto& [from_a, from_b] : seen) {
    CHECK_EQ(broadcast_index(a, place), static_cast<size_t>(from_a));
    CHECK_EQ(broadcast_index(b, place), static_cast<size_t>(from_b));
    for (size_t axis = place.size(); axis-- > 0;) {
      if (++place[axis] < output[axis]) break;
      place[axis] = 0;
    }
  }
  CHECK_EQ(broadcast.elements(), static_cast<int64_t>(seen.size()));
}

TEST(broadcasts_read_what_numpy_would) {
  for (const int64_t piece : {1, 7, 1000}) {
    check_broadcast({2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, piece);
    check_broadcast({2, 3, 4, 5}, {}, {2, 3, 4, 5}, piece);
    check_broadcast({5}, {2, 3, 4, 5}, {2, 3, 4, 5}, piece);
    check_broadcast({2, 1, 1, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, piece);
    check_broadcast({2, 3, 4, 5}, {3, 1, 5}, {2, 3, 4, 5}, piece);
    check_broadcast({2, 1, 4, 1}, {1, 3, 1, 5}, {2, 3, 4, 5}, piece);
    check_broadcast({1, 1}, {1}, {1, 1}, piece);
  }
  nq::Broadcast broadcast;
  Shape output;
  CHECK(!broadcast.set({2, 3}, {2}, &output));
  CHECK(broadcast.set({0, 3}, {1, 3}, &output));
  CHECK_EQ(int64_t{0}, broadcast.elements());
}

TEST(standing_operands_are_as_good_as_repeated_ones) {
  std::mt19937 random(1);
  const std::vector<int8_t> codes = random_codes(77, &random);
  for (const nq::AdditionKernel* kernel : nq::kernels_of<nq::AdditionKernel>()) {
    if (!kernel->supported()) continue;
    for (const float sign : {1.0f, -1.0f}) {
      nq::Addition addition(*kernel);
      CHECK(addition.set({0.8f, 3}, {sign * 0.6f, -9}, 5, {-120, 119}));
      nq::Multiplication multiplication(elementwise());
      CHECK(multiplication.set({0.2f, 3}, {0.1f, -9}, {0.9f, 5}, {-120, 119}));
      for (int standing = -128; standing < 128; standing += 5) {
        const std::vector<int8_t> repeated(codes.size(), static_cast<int8_t>(standing));
        const auto check = [&](const auto& arithmetic) {
          const auto count = static_cast<int64_t>(codes.size());
          std::vector<int8_t> wanted(codes.size()), got(codes.size());
          arithmetic.run({codes.data(), repeated.data(), 1, 1, count, wanted.data()});
          arithmetic.run({codes.data(), repeated.data(), 1, 0, count, got.data()});
          CHECK(got == wanted);
          arithmetic.run({repeated.data(), codes.data(), 1, 1, count, wanted.data()});
          arithmetic.run({repeated.data(), codes.data(), 0, 1, count, got.data()});
          CHECK(got == wanted);
        };
        check(addition);
        check(multiplication);
      }
    }
  }
}

TEST(differences_and_products_are_those_of_real_numbers) {
  const Quantization a{0.05f, 3}, b{0.07f, -9}, out{0.04f, 5};
  nq::Addition subtraction(**nq::kernels_of<nq::AdditionKernel>().begin());
  CHECK(subtraction.set({a.scale / out.scale, a.zero_point}, {-b.scale / out.scale, b.zero_point}, out.zero_point, {}));
  nq::Multiplication multiplication(elementwise());
  CHECK(multiplication.set(a, b, out, {}));
  for (int i = -128; i < 128; ++i) {
    for (int j = -128; j < 128; ++j) {
      const auto code_a = static_cast<int8_t>(i), code_b = static_cast<int8_t>(j);
      int8_t difference = 0, product = 0;
      subtraction.run({&code_a, &code_b, 1, 1, 1, &difference});
      multiplication.run({&code_a, &code_b, 1, 1, 1, &product});
      CHECK(std::abs(clamped_code(real(i, a) - real(j, b), out) - difference) <= 0.501);
      CHECK(std::abs(clamped_code(real(i, a) * real(j, b), out) - product) <= 0.501);
    }
  }
  CHECK(!multiplication.set({1e-3f, 0}, {1e-3f, 0}, {1.0f, 0}, {}));
  CHECK(!multiplication.set({100.0f, 0}, {100.0f, 0}, {1.0f, 0}, {}));
}

TEST(rounding_is_to_even_and_saturates) {
  CHECK_EQ(2, nq::round_to_int16(2.5f));
  CHECK_EQ(4, nq::round_to_int16(3.5f));
  CHECK_EQ(-2, nq::round_to_int16(-2.5f));
  CHECK_EQ(0, nq::round_to_int16(-0.5f));
  CHECK_EQ(32767, nq::round_to_int16(1e30f));
  CHECK_EQ(-32768, nq::round_to_int16(-std::numeric_limits<float>::infinity()));
  CHECK_EQ(32767, nq::round_to_int16(std::numeric_limits<float>::quiet_NaN()));
  for (int i = -32768; i < 32768; ++i) CHECK_EQ(i, nq::round_to_int16(static_cast<float>(i)));
}

TEST(conversions_there_and_back) {
  const Quantization q{0.03f, -7};
  std::vector<int8_t> codes, again(256);
  for (int i = -128; i < 128; ++i) codes.push_back(static_cast<int8_t>(i));
  std::vector<float> reals(256);
  nq::dequantize(elementwise(), codes.data(), 256, q, reals.data());
  nq::quantize(elementwise(), reals.data(), 256, q, again.data());
  CHECK(again == codes);
  CHECK_EQ(0.03f * 17, reals[128 + 10]);
}

TEST(tables_are_of_their_functions) {
  const Quantization in{0.05f, 11}, out{0.04f, -20}, unit{1.0f / 256, -128}, fine{0.01f, 0};
  const auto check = [&](nq::Table table, Quantization to, double tolerance, const auto& function) {
    for (int code = -128; code < 128; ++code) {
      CHECK(std::abs(clamped_code(function(real(code, in)), to) - table[code]) <= tolerance);
    }
  };
  check(nq::logistic_table(elementwise(), in, unit), unit, 0.501, [](double x) { return 1 / (1 + std::exp(-x)); });
  check(nq::tanh_table(elementwise(), in, fine), fine, 0.501, [](double x) { return std::tanh(x); });
  check(nq::elu_table(elementwise(), in, out), out, 0.501, [](double x) { return x < 0 ? std::exp(x) - 1 : x; });
  nq::Table table(elementwise());
  CHECK(nq::make_leaky_relu_table(in, out, 0.25f, &table));
  check(table, out, 0.8, [](double x) { return x < 0 ? x / 4 : x; });  // 8 bits behind the point are few
  CHECK(nq::make_requantize_table(in, out, &table));
  check(table, out, 0.8, [](double x) { return x; });
  CHECK(nq::make_relu_table(in, out, {-20, 127}, &table));
  check(table, out, 0.501, [](double x) { return std::max(x, 0.0); });
  CHECK(nq::make_hard_swish_table(in, out, &table));
  check(table, out, 1.0, [](double x) { return x * std::min(std::max(x + 3, 0.0), 6.0) / 6; });
  CHECK(!nq::make_requantize_table({1.0f, 0}, {1000.0f, 0}, &table));
  CHECK(!nq::make_leaky_relu_table(in, out, 1e-4f, &table));
  CHECK(!nq::make_hard_swish_table({1000.0f, 0}, {0.01f, 0}, &table));
}

TEST(tables_between_scales_too_far_apart_are_none) {
  nq::Table table(elementwise());
  const Quantization least = {std::numeric_limits<float>::min(), 0}, greatest = {1e38f, 0};
  CHECK(!nq::make_relu_table(greatest, least, {-128, 127}, &table));
  CHECK(!nq::make_hard_swish_table(greatest, least, &table));
  CHECK(!nq::make_requantize_table(greatest, least, &table));
  CHECK(!nq::make_leaky_relu_table(greatest, least, 0.5f, &table));
}

TEST(fixed_point_products_are_rounded_products) {
  for (const double factor : {1e-6, 0.3, 0.5, 0.99999999, 1.0, 7.25}) {
    const nq::FixedPoint by = nq::fixed_point(factor);
    for (const int32_t value : {-100000, -3, -1, 0, 1, 2, 255, 99999}) {
      CHECK(std::abs(value * factor - nq::multiply(value, by)) <= 0.751);  // rounded twice
    }
  }
  CHECK_EQ(3, nq::shift_right_rounded(5, 1));
  CHECK_EQ(-3, nq::shift_right_rounded(-5, 1));
  CHECK_EQ(std::numeric_limits<int32_t>::max(),
           nq::high_product(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::min()));
}

TEST(softmax_rows_add_up) {
  std::mt19937 random(2);
  const nq::Softmax softmax(elementwise(), 0.04f, 1.0f, {1.0f / 256, -128});
  for (const size_t columns : {1, 2, 9, 300}) {
    const std::vector<int8_t> in = random_codes(columns, &random);
    const nq_test::Guarded<int8_t> out(columns, int8_t{0});
    softmax.run_rows(in.data(), 1, static_cast<int64_t>(columns), out.data());
    double sum = 0;
    for (const int8_t code : in) sum += std::exp(static_cast<double>(0.04f) * code);
    for (size_t i = 0; i < columns; ++i) {
      const double share = std::exp(static_cast<double>(0.04f) * in[i]) / sum;
      CHECK(std::abs(clamped_code(share, {1.0f / 256, -128}) - out.data()[i]) <= 0.501);
    }
  }
}

TEST(pools_of_every_geometry) {
  std::mt19937 random(3);
  const auto pick = [&](int from, int to) { return from + static_cast<int>(random() % (to - from + 1)); };
  for (int round = 0; round < 200; ++round) {
    nq::Geometry g;
    g.window = {pick(1, 4), pick(1, 4), pick(1, 3), pick(1, 3), 1, 1, pick(0, 1) == 1};
    g.batches = pick(1, 2), g.in_h = pick(4, 9), g.in_w = pick(4, 9), g.in_c = g.out_c = pick(1, 3) * pick(1, 130);
    nq::place_window(&g);
    const auto channels = static_cast<size_t>(g.in_c);
    const std::vector<int8_t> in = random_codes(static_cast<size_t>(g.batches) * g.in_h * g.in_w * channels, &random);
    const int64_t pixel = pick(0, static_cast<int>(g.pixels()) - 1);
    const nq_test::Guarded<int8_t> greatest(channels, int8_t{0}), mean(channels, int8_t{0});
    const nq::Range one = {pixel, pixel + 1};
    nq::max_pool(elementwise(), g, {-100, 90}, in.data(), one, greatest.data());
    nq::average_pool(elementwise(), g, {-100, 90}, in.data(), one, mean.data());
    for (size_t c = 0; c < channels; ++c) {
      int most = -128, sum = 0, count = 0;
      for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
        const auto y = pixel / g.out_w % g.out_h * g.window.stride_h - g.pad_top + tap / g.window.kernel_w;
        const auto x = pixel % g.out_w * g.window.stride_w - g.pad_left + tap % g.window.kernel_w;
        if (y < 0 || y >= g.in_h || x < 0 || x >= g.in_w) continue;
        const auto image = pixel / g.out_w / g.out_h;
        const int code = in[static_cast<size_t>((image * g.in_h + y) * g.in_w + x) * channels + c];
        most = std::max(most, code), sum += code, ++count;
      }
      CHECK_EQ(std::min(std::max(most, -100), 90), int{greatest.data()[c]});
      const double exact = std::round(static_cast<double>(sum) / count);  // halves away from zero
      CHECK_EQ(static_cast<int>(std::min(std::max(exact, -100.0), 90.0)), int{mean.data()[c]});
    }
  }
}

// Pixels of a row together, and windows with more taps than are compared together.
TEST(max_pools_of_ranges) {
  std::mt19937 random(5);
  const auto pick = [&](int from, int to) { return from + static_cast<int>(random() % (to - from + 1)); };
  for (int round = 0; round < 60; ++round) {
    nq::Geometry g;
    const int most = round % 3 == 0 ? 13 : 3;
    g.window = {pick(1, most), pick(1, most), pick(1, 3), pick(1, 3), 1, 1, pick(0, 1) == 1};
    g.batches = pick(1, 2), g.in_h = pick(13, 17), g.in_w = pick(13, 17), g.in_c = g.out_c = pick(1, 70);
    nq::place_window(&g);
    const auto channels = static_cast<size_t>(g.in_c);
    const std::vector<int8_t> in = random_codes(static_cast<size_t>(g.batches) * g.in_h * g.in_w * channels, &random);
    const int64_t begin = pick(0, static_cast<int>(g.pixels()) - 1);
    const int64_t end = pick(static_cast<int>(begin) + 1, static_cast<int>(g.pixels()));
    const nq_test::Guarded<int8_t> together(static_cast<size_t>(end - begin) * channels, int8_t{0});
    nq::max_pool(elementwise(), g, {-128, 127}, in.data(), {begin, end}, together.data());
    std::vector<int8_t> each(together.size());
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const nq::Place place = nq::place_of(g, pixel);
      int8_t* out = each.data() + static_cast<size_t>(pixel - begin) * channels;
      std::fill_n(out, channels, int8_t{-128});
      for (int64_t tap = 0; tap < int64_t{g.window.kernel_h} * g.window.kernel_w; ++tap) {
        const int64_t y = place.y * g.window.stride_h - g.pad_top + tap / g.window.kernel_w;
        const int64_t x = place.x * g.window.stride_w - g.pad_left + tap % g.window.kernel_w;
        if (y < 0 || y >= g.in_h || x < 0 || x >= g.in_w) continue;
        const int8_t* from = in.data() + ((place.batch * g.in_h + y) * g.in_w + x) * g.in_c;
        for (size_t c = 0; c < channels; ++c) out[c] = std::max(out[c], from[c]);
      }
    }
    CHECK(std::equal(together.begin(), together.end(), each.begin()));
  }
}

TEST(means_over_images) {
  std::mt19937 random(4);
  const Quantization from{0.05f, 11}, to{0.02f, -20};
  for (const int64_t pixels : {1, 2, 49, 1000}) {
    for (const int64_t channels : {1, 255, 700}) {
      const std::vector<int8_t> in = random_codes(static_cast<size_t>(pixels * channels), &random);
      const nq_test::Guarded<int8_t> out(static_cast<size_t>(channels), int8_t{0});
      nq::ImageGreatest greatest(elementwise());
      greatest.set_pixels(pixels);
      const nq_test::Guarded<int8_t> most(static_cast<size_t>(channels), int8_t{0});
      greatest.run(in.data(), channels, 0, channels / 3, most.data());
      greatest.run(in.data(), channels, channels / 3, channels - channels / 3, most.data());
      nq::ImageMean mean(elementwise(), from, to);
      mean.set_pixels(pixels);
      mean.run(in.data(), channels, 0, channels / 3, out.data());
      mean.run(in.data(), channels, channels / 3, channels - channels / 3, out.data());
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        int8_t wanted = -128;
        for (int64_t pixel = 0; pixel < pixels; ++pixel) {
          const int8_t code = in[static_cast<size_t>(pixel * channels + c)];
          sum += real(code, from);
          wanted = std::max(wanted, code);
        }
        CHECK_EQ(wanted, most.data()[c]);
        CHECK(std::abs(clamped_code(sum / static_cast<double>(pixels), to) - out.data()[c]) <= 0.501);
      }
    }
  }
}

TEST(resized_images) {
  std::mt19937 random(5);
  const int channels = 3;
  for (const auto& [in_size, out_size] : std::vector<std::pair<int, int>>{{5, 10}, {5, 3}, {7, 20}, {1, 4}, {4, 1}}) {
    const std::vector<int8_t> in = random_codes(static_cast<size_t>(in_size * in_size * channels), &random);
    for (const nq::ResizeMode mode : {nq::ResizeMode{false, false}, {true, false}, {false, true}}) {
      const nq::ResizedImage image{in_size, in_size, channels, nq::linear_taps(in_size, out_size, mode),
                                   nq::linear_taps(in_size, out_size, mode)};
      const double steps = mode.align_corners && out_size > 1 ? 1 : 0, shift = mode.half_pixel_centers ? 0.5 : 0;
      const auto place = [&](int position) {
        const double exact = (position + shift) * (in_size - steps) / (out_size - steps) - shift;
        return std::min(std::max(exact, 0.0), in_size - 1.0);
      };
      const nq_test::Guarded<int8_t> out(static_cast<size_t>(out_size * channels), int8_t{0});
      for (int y = 0; y < out_size; ++y) {
        nq::linear_row(image, in.data(), y, out.data());
        for (int x = 0; x < out_size; ++x) {
          const int top = static_cast<int>(place(y)), left = static_cast<int>(place(x));
          const int bottom = std::min(top + 1, in_size - 1), right = std::min(left + 1, in_size - 1);
          const double down = place(y) - top, across = place(x) - left;
          for (int c = 0; c < channels; ++c) {
            const auto at = [&](int row, int column) -> double {
              return in[static_cast<size_t>((row * in_size + column) * channels + c)];
            };
            const double exact = (1 - down) * ((1 - across) * at(top, left) + across * at(top, right)) +
                                 down * ((1 - across) * at(bottom, left) + across * at(bottom, right));
            CHECK(std::abs(exact - out.data()[x * channels + c]) <= 0.7);
          }
        }
      }
    }
  }
}

TEST(nearest_pixels) {
  const auto sources = [](int32_t in, int32_t out, nq::ResizeMode mode) {
    std::vector<int> found;
    for (const nq::ResizeTap& tap : nq::nearest_taps(in, out, mode)) found.push_back(tap.first);
    return found;
  };
  CHECK((sources(3, 6, {}) == std::vector<int>{0, 0, 1, 1, 2, 2}));
  CHECK((sources(4, 2, {}) == std::vector<int>{0, 2}));
  CHECK((sources(4, 2, {false, true}) == std::vector<int>{1, 3}));
  CHECK((sources(3, 5, {true, false}) == std::vector<int>{0, 1, 1, 2, 2}));
  const nq::ResizedImage image{2, 2, 2, nq::nearest_taps(2, 1, {}), nq::nearest_taps(2, 4, {})};
  const std::vector<int8_t> in = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int8_t> out(8);
  nq::nearest_row(image, in.data(), 0, out.data());
  CHECK((out == std::vector<int8_t>{1, 2, 1, 2, 3, 4, 3, 4}));
}

// The same bytes from every kernel, at any length and behind closed pages.
TEST(elementwise_kernels_agree) {
  const nq::ElementwiseKernel& base = **nq::kernels_of<nq::ElementwiseKernel>().begin();
  std::mt19937 random(3);
  const auto code = [&random] { return static_cast<int8_t>(static_cast<uint8_t>(random())); };
  for (const nq::ElementwiseKernel* kernel : nq::kernels_of<nq::ElementwiseKernel>()) {
    if (!kernel->supported()) continue;
    for (size_t count = 0; count < 200; ++count) {
      const Guarded<int8_t> a(count), b(count), got(count), wanted(count), table(256);
      const Guarded<float> reals(count), got_reals(count), wanted_reals(count);
      const Guarded<int32_t> got_sums(count), wanted_sums(count);
      std::generate(a.begin(), a.end(), code);
      std::generate(b.begin(), b.end(), code);
      std::generate(table.begin(), table.end(), code);
      for (float& real : reals) real = static_cast<float>(static_cast<int32_t>(random())) * 1e-6f;
      if (count > 9) reals[1] = NAN, reals[2] = INFINITY, reals[3] = -INFINITY, reals[4] = 3e38f, reals[5] = -0.0f;
      const nq::MultiplicationTerms terms = {0.013f, 5, -9, 17, -110, 121};
      const auto same = [&] { return std::equal(got.begin(), got.end(), wanted.begin()); };
      kernel->multiply.of_both(terms, a.data(), b.data(), count, got.data());
      base.multiply.of_both(terms, a.data(), b.data(), count, wanted.data());
      CHECK(same());
      kernel->multiply.by_one(terms, a.data(), -77, count, got.data());
      base.multiply.by_one(terms, a.data(), -77, count, wanted.data());
      CHECK(same());
      kernel->quantize(reals.data(), count, 0.07f, -3, got.data());
      base.quantize(reals.data(), count, 0.07f, -3, wanted.data());
      CHECK(same());
      kernel->look_up(table.data(), a.data(), count, got.data());
      base.look_up(table.data(), a.data(), count, wanted.data());
      CHECK(same());
      const int8_t* taps[] = {a.data(), b.data(), a.data()};
      kernel->pooling.greatest(taps, 3, {1, 0, count}, got.data());
      base.pooling.greatest(taps, 3, {1, 0, count}, wanted.data());
      CHECK(same());
      kernel->dequantize(a.data(), count, 0.3f, 4, got_reals.data());
      base.dequantize(a.data(), count, 0.3f, 4, wanted_reals.data());
      CHECK_EQ(0, std::memcmp(got_reals.data(), wanted_reals.data(), count * sizeof(float)));
      for (int i = 0; i < 3; ++i) {
        kernel->pooling.add_to(a.data(), count, got_sums.data());
        base.pooling.add_to(a.data(), count, wanted_sums.data());
      }
      CHECK(std::equal(got_sums.begin(), got_sums.end(), wanted_sums.begin()));
    }
  }
}

std::vector<const nq::ElementwiseKernel*> supported_kernels() {
  std::vector<const nq::ElementwiseKernel*> kernels;
  for (const nq::ElementwiseKernel* kernel : nq::kernels_of<nq::ElementwiseKernel>()) {
    if (kernel->supported()) kernels.push_back(kernel);
  }
  return kernels;
}

// Of tiles of every height, width and depth, the second matrix as it lies and turned, behind closed pages.
TEST(products_of_codes) {
  std::mt19937 random(11);
  int64_t compared = 0;
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const auto& [rows, depth, columns] : std::vector<std::array<size_t, 3>>{
             {1, 1, 1}, {2, 3, 15}, {5, 4, 16}, {12, 66, 32}, {19, 33, 50}, {24, 197, 64}, {11, 64, 197}}) {
      const auto deep = static_cast<int64_t>(depth), wide = static_cast<int64_t>(columns);
      for (const auto& [depth_stride, column_stride] : std::vector<std::array<int64_t, 2>>{{wide, 1}, {1, deep}}) {
        const Guarded<int8_t> a(random_codes(rows * depth, &random)), b(random_codes(depth * columns, &random));
        std::vector<int32_t> panels(nq::code_panel_bytes(depth, columns) / sizeof(int32_t) + 1);
        const Guarded<int32_t> sums(columns), out(rows * columns);
        kernel->codes.pack_panels(b.data(), {depth, columns, depth_stride, column_stride}, panels.data(), sums.data());
        kernel->codes.multiply_panels({rows, depth, columns, deep, wide}, a.data(), panels.data(), out.data());
        for (size_t i = 0; i < out.size(); ++i, ++compared) {
          int32_t wanted = 0, of_column = 0;
          for (size_t k = 0; k < depth; ++k) {
            const int32_t code =
                b[k * static_cast<size_t>(depth_stride) + i % columns * static_cast<size_t>(column_stride)];
            wanted += a[i / columns * depth + k] * (code + kernel->codes.panel_offset);
            of_column += code;
          }
          ASSERT_EQ(wanted, out[i]) << kernel->isa;
          ASSERT_EQ(of_column, sums[i % columns]) << kernel->isa;
        }
      }
    }
  }
  std::printf("%lld products of codes compared\n", static_cast<long long>(compared));
}

// The second operand's zero point is 0: then it is XNNPACK's arithmetic.
TEST(products_of_codes_around_zero) {
  std::mt19937 random(13);
  constexpr int32_t kRows = 7, kDepth = 33, kColumns = 19;
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const auto& [a_zero, zero] : std::vector<std::array<int32_t, 2>>{{0, 0}, {5, -3}, {-128, 127}}) {
      const Guarded<int8_t> a(random_codes(kRows * kDepth, &random)), b(random_codes(kDepth * kColumns, &random));
      const Guarded<int8_t> out(kRows * kColumns);
      nq::MatrixProduct product(false);
      std::vector<int32_t> shape;
      CHECK(product.reshape({1, kRows, kDepth}, {1, kDepth, kColumns}, &shape));
      nq::CodeProduct codes;
      CHECK(codes.set(*kernel, {0.07f, a_zero}, {0.09f, 0}, {0.8f, zero}));
      std::vector<int32_t> packed(nq::CodeProduct::packed_bytes(product) / 4 + 1);
      std::vector<uint8_t> scratch(kRows * nq::CodeProduct::scratch_bytes(product));
      auto* bytes = reinterpret_cast<uint8_t*>(packed.data());
      codes.pack(product, b.data(), 0, bytes);
      codes.multiply(product, kRows, a.data(), kDepth, bytes, scratch.data(), out.data(), kColumns);
      for (size_t i = 0; i < out.size(); ++i) {
        int32_t sum = 0;
        for (size_t k = 0; k < kDepth; ++k)
          sum += (a[i / kColumns * kDepth + k] - a_zero) * b[k * kColumns + i % kColumns];
        const float scaled = static_cast<float>(sum) * (0.07f * 0.09f / 0.8f);
        const long wanted = std::clamp<long>(std::lrint(scaled) + zero, -128, 127);
        ASSERT_EQ(wanted, out[i]) << kernel->isa;
      }
    }
  }
}

TEST(rescaled_sums) {
  std::mt19937 random(12);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (int round = 0; round < 2000; ++round) {
      const nq::FixedPoint by =
          nq::fixed_point(std::ldexp(1.0 + random() / 4294967296.0, -static_cast<int>(random() % 30)));
      const size_t count = random() % 70;
      const Guarded<int32_t> sums(count), more(count);
      for (size_t i = 0; i < count; ++i) {
        sums[i] = static_cast<int32_t>(random()) >> (1 + random() % 28) >> (by.shift > 0 ? 2 : 0);
        more[i] = static_cast<int32_t>(random() % 65536) - 32768;
      }
      const int32_t zero_point = static_cast<int32_t>(random() % 256) - 128;
      const Guarded<int8_t> out(count);
      kernel->codes.rescale(sums.data(), more.data(), 7, count, nq::rescaling_terms(by, zero_point), out.data());
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(nq::clamp_to_int8(nq::multiply(sums[i] + more[i] + 7, by) + zero_point), out[i]) << kernel->isa;
      }
    }
  }
}

TEST(rows_of_codes) {
  std::mt19937 random(13);
  std::vector<float> powers(256);
  for (size_t i = 0; i < powers.size(); ++i) powers[i] = std::exp(-0.04f * static_cast<float>(i));
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (size_t count = 0; count < 100; ++count) {
      const Guarded<int8_t> in(random_codes(count, &random)), out(count);
      CHECK_EQ(std::accumulate(in.begin(), in.end(), 0), kernel->codes.sum(in.data(), count));
      const int32_t greatest = kernel->codes.greatest(in.data(), count);
      CHECK_EQ(std::accumulate(in.begin(), in.end(), -128, [](int a, int b) { return std::max(a, b); }), greatest);
      const float factor = static_cast<float>(random() % 1000) * 0.5f;  // which gives many halves too
      kernel->codes.weigh(powers.data(), count, factor, -128, out.data());
      for (size_t i = 0; i < count; ++i) {
        const float scaled = powers[i] * factor;
        ASSERT_EQ(nq::clamp_to_int8(static_cast<int32_t>(std::round(scaled)) - 128), out[i]) << kernel->isa;
      }
    }
  }
}

TEST(roots_and_gelu_by_table) {
  const Quantization in{0.02f, -128}, out{0.05f, -128};
  nq::Table roots(elementwise());
  CHECK(nq::make_inverse_root_table(in, out, &roots));
  CHECK_EQ(127, static_cast<int>(roots[-128]));
  for (int code = -127; code < 128; ++code) {
    EXPECT_NEAR(clamped_code(1 / std::sqrt(real(code, in)), out), static_cast<double>(roots[code]), 1.0);
  }
  const Quantization around{0.03f, 5};
  for (const bool approximate : {false, true}) {
    const nq::Table gelu = nq::gelu_table(elementwise(), around, out, approximate);
    for (int code = -128; code < 128; ++code) {
      const double x = real(code, around);
      EXPECT_NEAR(clamped_code(x / 2 * std::erfc(-x / std::sqrt(2.0)), out), static_cast<double>(gelu[code]), 0.51);
    }
  }
}

}  // namespace
