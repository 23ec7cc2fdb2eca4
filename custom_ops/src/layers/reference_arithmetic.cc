#include "layers/reference_arithmetic.h"

namespace nq {
namespace {

constexpr int64_t kTile = 256;

void fill(Quantization quantization, FixedPoint scale, int32_t shift, std::array<int32_t, 256>* values) {
  for (int32_t code = -128; code < 128; ++code) {
    const int32_t shifted = (code - quantization.zero_point) * (1 << shift);
    (*values)[static_cast<size_t>(code + 128)] = multiply(shifted, scale);
  }
}

int32_t value_of(const std::array<int32_t, 256>& values, int8_t code) {
  return values[static_cast<size_t>(code + 128)];
}

}  // namespace

bool ReferenceArithmetic::set(Quantization a, Quantization b, Quantization output, ActivationRange range) {
  const bool squares = operation_ == kSquaredDifference;
  const int32_t shift = squares ? 7 : 20;
  const double twice = 2 * static_cast<double>(std::max(a.scale, b.scale));
  const double unit = squares ? twice * twice / (1 << 2 * shift) : twice / (1 << shift);
  const double out_ratio = unit / static_cast<double>(output.scale);
  const FixedPoint out = fixed_point(out_ratio);
  fill(a, fixed_point(static_cast<double>(a.scale) / twice), shift, &a_);
  fill(b, fixed_point(static_cast<double>(b.scale) / twice), shift, &b_);
  terms_ = rescaling_terms(out, output.zero_point);
  range_ = range;
  return out_ratio > 0 && out_ratio < 1 && out.shift <= 0;
}

void ReferenceArithmetic::combine(const BinaryRun<int8_t>& run, int64_t begin, int64_t count, int32_t* values) const {
  const int8_t *a = run.a + begin * run.a_step, *b = run.b + begin * run.b_step;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t of_a = value_of(a_, a[i * run.a_step]), of_b = value_of(b_, b[i * run.b_step]);
    values[i] = operation_ == kAdd ? of_a + of_b : of_a - of_b;
  }
  if (operation_ != kSquaredDifference) return;
  for (int64_t i = 0; i < count; ++i) values[i] *= values[i];
}

void ReferenceArithmetic::run_by_table(const BinaryRun<int8_t>& run) const {
  const bool a_moves = run.a_step != 0;
  const int32_t still = a_moves ? value_of(b_, *run.b) : value_of(a_, *run.a);
  int32_t values[256];
  for (size_t i = 0; i < 256; ++i) {
    values[i] = operation_ == kAdd ? (a_moves ? a_ : b_)[i] + still : a_moves ? a_[i] - still : still - b_[i];
  }
  if (operation_ == kSquaredDifference) {
    for (int32_t& value : values) value *= value;
  }
  int8_t results[256];
  finish(values, 256, results);
  kernel_->look_up(results, a_moves ? run.a : run.b, static_cast<size_t>(run.count), run.out);
}

void ReferenceArithmetic::finish(const int32_t* values, int64_t count, int8_t* out) const {
  const int32_t nothing[kTile] = {};
  kernel_->codes.rescale(values, nothing, 0, static_cast<size_t>(count), terms_, out);
  if (range_.low == -128 && range_.high == 127) return;
  for (int64_t i = 0; i < count; ++i) out[i] = std::min(std::max(out[i], range_.low), range_.high);
}

void ReferenceArithmetic::run(const BinaryRun<int8_t>& run) const {
  if (run.a_step + run.b_step == 1 && run.count >= kTile) return run_by_table(run);
  int32_t values[kTile];
  for (int64_t begin = 0; begin < run.count; begin += kTile) {
    const int64_t count = std::min(kTile, run.count - begin);
    combine(run, begin, count, values);
    finish(values, count, run.out + begin);
  }
}

}  // namespace nq
