// Attention by products of int8: its kernels against the scalar ones and against real numbers, and the whole of it.
#include "layers/attention.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "guarded.h"
#include "kernels/kernels.h"

namespace {

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

std::vector<float> random_reals(size_t count, float spread, std::mt19937* random) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> reals(count);
  for (float& real : reals) real = normal(*random);
  return reals;
}

template <typename T>
bool same_bytes(const Guarded<T>& a, const Guarded<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// By rows and by columns, some of which are not finite, or nearly 0; between two rows nothing is read or written.
TEST(rows_and_columns_have_scales_of_their_own) {
  std::mt19937 random(1);
  int64_t compared = 0;
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const auto& [rows, size] : std::vector<std::array<size_t, 2>>{
             {1, 1}, {3, 15}, {17, 16}, {16, 17}, {49, 32}, {33, 64}, {5, 80}, {197, 7}}) {
      for (const float odd : {0.0f, kNan, -kInfinity, kInfinity, 1e-30f, 3e38f}) {
        const size_t stride = size + 3;
        std::vector<float> reals = random_reals((rows - 1) * stride + size, 3, &random);
        if (odd != 0.0f) reals[rows / 2 * stride + size / 2] = odd;
        if (odd == 1e-30f) std::fill(reals.begin(), reals.end(), odd);
        const Guarded<float> in(reals);
        for (const bool by_rows : {true, false}) {
          const size_t count = by_rows ? rows : size;
          const Guarded<int8_t> codes(rows * size, int8_t{77}), wanted_codes(rows * size, int8_t{77});
          const Guarded<float> scales(count, 0.5f), wanted(count, 0.5f);
          const auto quantize = [&](const nq::ElementwiseKernel& with, int8_t* to, float* of) {
            const auto& function = by_rows ? with.attention.quantize_rows : with.attention.quantize_columns;
            function(in.data(), static_cast<int64_t>(stride), rows, size, to, of);
          };
          quantize(*kernel, codes.data(), scales.data());
          quantize(base(), wanted_codes.data(), wanted.data());
          ASSERT_TRUE(same_bytes(codes, wanted_codes)) << kernel->isa;
          ASSERT_TRUE(same_bytes(scales, wanted)) << kernel->isa;
          for (size_t i = 0; i < codes.size(); ++i, ++compared) {
            const float scale = scales[by_rows ? i / size : i % size], real = reals[i / size * stride + i % size];
            if (std::isnan(scale)) {
              ASSERT_EQ(0, codes[i]);
            } else {
              ASSERT_LE(std::abs(static_cast<double>(real) - static_cast<double>(scale) * codes[i]),
                        0.5001 * static_cast<double>(scale) + 1e-24);
            }
          }
        }
      }
    }
  }
  std::printf("%lld codes compared\n", static_cast<long long>(compared));
}

TEST(weights_are_255ths_of_the_greatest_power) {
  std::mt19937 random(2);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const size_t count : {16, 32, 208, 1024}) {
      for (const float beta : {1.0f, 0.125f, 3e-3f, 40.0f}) {
        std::vector<float> reals = random_reals(count, 3.0f / beta, &random);
        reals[count / 3] = -kInfinity, reals[count / 2] = -3e38f;
        const float greatest = *std::max_element(reals.begin(), reals.end());
        const Guarded<float> in(reals);
        const Guarded<int8_t> out(count), wanted(count);
        const int32_t sum = kernel->attention.weights(in.data(), count, greatest, beta, out.data());
        CHECK_EQ(sum, base().attention.weights(in.data(), count, greatest, beta, wanted.data()));
        ASSERT_TRUE(same_bytes(out, wanted)) << kernel->isa;
        int32_t found = 0;
        for (size_t i = 0; i < count; ++i) {
          found += out[i] + 128;
          const double power =
              255 * std::exp((static_cast<double>(in[i]) - static_cast<double>(greatest)) * static_cast<double>(beta));
          ASSERT_NEAR(power, out[i] + 128, 0.53);
        }
        CHECK_EQ(found, sum);
      }
    }
  }
}

TEST(sums_become_floats) {
  std::mt19937 random(3);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const size_t count : {1, 7, 16, 33, 64, 197}) {
      std::vector<int32_t> some(count), others(count);
      for (int32_t& sum : some) sum = static_cast<int32_t>(random() % 20'000'000) - 10'000'000;
      for (int32_t& sum : others) sum = static_cast<int32_t>(random() % 20'000'000) - 10'000'000;
      const Guarded<int32_t> sums(some), more(others);
      const Guarded<float> scales(random_reals(count, 1, &random)), out(count), wanted(count);
      for (const int32_t* added : {static_cast<const int32_t*>(nullptr), static_cast<const int32_t*>(more.data())}) {
        kernel->attention.to_floats({added, 77, scales.data(), 0.37f}, sums.data(), count, out.data());
        for (size_t i = 0; i < count; ++i) {
          const int32_t sum = sums[i] + (added == nullptr ? 0 : added[i]) + 77;
          ASSERT_EQ(static_cast<float>(sum) * scales[i] * 0.37f, out[i]) << kernel->isa;
        }
      }
    }
  }
}

// One matrix of each operand: q [rows, depth], k [keys, depth] or turned, v [keys, size] or turned.
struct Problem {
  int32_t rows, depth, keys, size;
  bool turned_keys, turned_values;
};

struct Addend {
  std::vector<float> values;  // none: no addend
  int64_t stride = 0, step = 0;
};

std::vector<float> turned(const std::vector<float>& matrix, size_t rows, size_t columns) {
  std::vector<float> other(matrix.size());
  for (size_t i = 0; i < matrix.size(); ++i) other[i % columns * rows + i / columns] = matrix[i];
  return other;
}

std::vector<float> attend(const nq::ElementwiseKernel& kernel, const Problem& p, const std::vector<float>& q,
                          const std::vector<float>& k, const std::vector<float>& v, const Addend& addend) {
  nq::MatrixProduct scores(!p.turned_keys), values(p.turned_values);
  nq::MatrixProduct::Shape shape, out_shape;
  const nq::MatrixProduct::Shape of_k = {p.turned_keys ? p.depth : p.keys, p.turned_keys ? p.keys : p.depth};
  const nq::MatrixProduct::Shape of_v = {p.turned_values ? p.size : p.keys, p.turned_values ? p.keys : p.size};
  EXPECT_TRUE(scores.reshape({p.rows, p.depth}, of_k, &shape) && values.reshape(shape, of_v, &out_shape));
  const auto keys = static_cast<size_t>(p.keys), depth = static_cast<size_t>(p.depth),
             size = static_cast<size_t>(p.size);
  const Guarded<float> of_q(q), of_keys(p.turned_keys ? turned(k, keys, depth) : k),
      of_values(p.turned_values ? turned(v, keys, size) : v), added(addend.values),
      out(static_cast<size_t>(p.rows) * size);
  nq::Attention attention(kernel, 0.25f, 1.0f);
  attention.set(scores, values);
  nq::Workspace memory;
  uint8_t* workspace = memory.get(attention.workspace_bytes());
  attention.pack(scores, values, 0, of_keys.data(), of_values.data(), workspace);
  for (int64_t first = 0; first < p.rows; first += nq::kMatrixRows) {
    nq::Attention::Rows rows = {of_q.data() + first * p.depth, nullptr, addend.stride, addend.step,
                                std::min(nq::kMatrixRows, p.rows - first)};
    if (!addend.values.empty()) rows.addend = added.data() + first * addend.stride;
    attention.run(scores, values, rows, workspace, out.data() + first * p.size);
  }
  return {out.begin(), out.end()};
}

std::vector<double> exact(const Problem& p, const std::vector<float>& q, const std::vector<float>& k,
                          const std::vector<float>& v, const Addend& addend) {
  std::vector<double> out(static_cast<size_t>(p.rows * p.size), 0.0);
  const auto at = [](const std::vector<float>& matrix, int32_t row, int32_t columns, int32_t column) {
    return static_cast<double>(matrix[static_cast<size_t>(row * columns + column)]);
  };
  for (int32_t row = 0; row < p.rows; ++row) {
    std::vector<double> powers;
    double sum = 0;
    for (int32_t key = 0; key < p.keys; ++key) {
      double score = 0;
      for (int32_t d = 0; d < p.depth; ++d) score += at(q, row, p.depth, d) * at(k, key, p.depth, d);
      score *= 0.25;
      if (!addend.values.empty()) {
        score += static_cast<double>(addend.values[static_cast<size_t>(row * addend.stride + key * addend.step)]);
      }
      powers.push_back(std::exp(score));
      sum += powers.back();
    }
    for (int32_t c = 0; c < p.size; ++c) {
      for (int32_t key = 0; key < p.keys; ++key) {
        out[static_cast<size_t>(row * p.size + c)] += powers[static_cast<size_t>(key)] / sum * at(v, key, p.size, c);
      }
    }
  }
  return out;
}

const std::vector<Problem> kProblems = {{1, 1, 1, 1, false, false},
                                        {5, 8, 3, 7, true, false},
                                        {24, 32, 49, 32, false, true},
                                        {25, 20, 17, 20, true, true},
                                        {50, 64, 197, 64, false, false}};

// The same bytes from every kernel, however the matrices lie, and near real numbers.
TEST(attention_is_near_that_of_real_numbers) {
  std::mt19937 random(4);
  int64_t compared = 0;
  for (const Problem& p : kProblems) {
    const auto reals = [&](int32_t rows, int32_t columns) {
      return random_reals(static_cast<size_t>(rows * columns), 1, &random);
    };
    const std::vector<float> q = reals(p.rows, p.depth), k = reals(p.keys, p.depth), v = reals(p.keys, p.size);
    for (const Addend& addend :
         {Addend(), Addend{reals(p.rows, p.keys), p.keys, 1}, Addend{reals(1, p.keys), 0, 1}, Addend{{3.0f}, 0, 0}}) {
      const std::vector<double> wanted = exact(p, q, k, v, addend);
      const std::vector<float> first = attend(base(), p, q, k, v, addend);
      double squares = 0;
      for (size_t i = 0; i < wanted.size(); ++i) {
        const double error = static_cast<double>(first[i]) - wanted[i];
        ASSERT_LE(std::abs(error), 0.15);
        squares += error * error;
      }
      EXPECT_LE(std::sqrt(squares / static_cast<double>(wanted.size())), 0.02);
      for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
        for (const bool turns : {false, true}) {
          Problem other = p;
          other.turned_keys ^= turns, other.turned_values ^= turns;
          ASSERT_EQ(first, attend(*kernel, other, q, k, v, addend)) << kernel->isa;
          compared += static_cast<int64_t>(first.size());
        }
      }
    }
  }
  std::printf("%lld results of attention compared\n", static_cast<long long>(compared));
}

// A masked key counts for nothing; what is not finite spoils its row of q, all rows of a key, or its column of v.
TEST(what_is_not_finite_stays_so) {
  std::mt19937 random(5);
  const Problem p = {4, 16, 20, 18, false, false};
  const std::vector<float> q = random_reals(4 * 16, 1, &random), k = random_reals(20 * 16, 1, &random),
                           v = random_reals(20 * 18, 1, &random);
  for (const nq::ElementwiseKernel* kernel : supported_kernels()) {
    for (const float odd : {kNan, kInfinity}) {
      std::vector<float> of_q = q, of_k = k, of_v = v;
      of_q[16 + 3] = of_k[5] = of_v[18 + 7] = odd;
      const std::vector<float> by_q = attend(*kernel, p, of_q, k, v, {}), by_k = attend(*kernel, p, q, of_k, v, {}),
                               by_v = attend(*kernel, p, q, k, of_v, {});
      for (size_t i = 0; i < by_q.size(); ++i) {
        CHECK_EQ(i / 18 == 1, std::isnan(by_q[i]));
        CHECK(std::isnan(by_k[i]));
        CHECK_EQ(i % 18 == 7, std::isnan(by_v[i]));
      }
    }
    Addend mask = {std::vector<float>(20, 0.0f), 0, 1};
    mask.values[3] = -kInfinity, mask.values[4] = -1e9f;
    std::vector<float> other = v;
    for (size_t c = 0; c < 18; ++c) other[3 * 18 + c] *= 0.5f, other[4 * 18 + c] *= 0.5f;
    for (size_t c = 0; c < 18; ++c) other[c] = 9.0f;  // the scale of each column
    std::vector<float> same = v;
    for (size_t c = 0; c < 18; ++c) same[c] = 9.0f;
    CHECK(attend(*kernel, p, q, k, same, mask) == attend(*kernel, p, q, k, other, mask));
    mask.values.assign(20, -kInfinity);
    for (const float each : attend(*kernel, p, q, k, v, mask)) CHECK(std::isnan(each));
  }
}

}  // namespace
