// Every depthwise kernel of this build that the CPU supports, against a naive computation.
#include "kernels/depthwise/depthwise.h"

#include <cstring>

#include "check.h"
#include "naive_layer.h"

namespace {

using nq::DepthwiseKernel;
using nq::Layout;
using nq::PackedWeight;
using nq_test::Codes;
using nq_test::Guarded;
using nq_test::NaiveLayer;

constexpr uint32_t kChannels[] = {1, 7, 15, 16, 17, 31, 33, 64, 65, 127, 200};
constexpr uint32_t kDepths[] = {1, 2, 3, 4, 5, 7, 8, 9, 25, 27};
constexpr int kPixels[] = {1, 2, 13};
constexpr int kMostPixels = 13, kMostRun = 6;
constexpr size_t kInputPixels = 8;
constexpr int8_t kUntouched = 0x5A;

std::vector<const DepthwiseKernel*> supported_kernels() {
  std::vector<const DepthwiseKernel*> supported;
  for (const DepthwiseKernel* kernel : nq::kernels_of<nq::DepthwiseKernel>()) {
    if (kernel->supported()) supported.push_back(kernel);
  }
  return supported;
}

// A few pixels, the last of which ends at a closed page, and runs of up to kMostRun pixels whose taps read them at
// random.
struct Input {
  Input(uint32_t channels, uint32_t depth, Codes kind, std::mt19937* random)
      : step(channels), activations(kInputPixels * channels), taps(size_t{depth} * kMostPixels) {
    for (int8_t& activation : activations) {
      activation = static_cast<int8_t>(static_cast<uint8_t>((*random)()));
      if (kind == Codes::kExtreme) activation = static_cast<int8_t>(activation < 0 ? -128 : 127);
    }
    for (size_t p = 0; p < kMostPixels; ++p) {
      for (size_t t = 0; t < depth; ++t) {
        const int8_t*& tap = taps[p * depth + t];
        const size_t first = (*random)() % (kInputPixels - kMostRun + 1);
        tap = p % kMostRun == 0 ? activations.data() + first * channels : taps[(p - 1) * depth + t] + channels;
      }
    }
  }

  std::vector<nq::TapRun> runs(int num_pixels) const {
    std::vector<nq::TapRun> runs;
    const size_t depth = taps.size() / kMostPixels;
    for (int p = 0; p < num_pixels; p += kMostRun) {
      runs.push_back({taps.data() + static_cast<size_t>(p) * depth, std::min(kMostRun, num_pixels - p)});
    }
    return runs;
  }

  size_t step;
  Guarded<int8_t> activations;
  Guarded<const int8_t*> taps;
};

std::vector<int8_t> expected_output(const NaiveLayer& layer, int level, const Input& input) {
  std::vector<int8_t> expected;
  for (size_t p = 0; p < kMostPixels; ++p) {
    const int8_t* const* taps = input.taps.data() + p * layer.block.depth;
    for (uint32_t c = 0; c < layer.block.channels; ++c) {
      expected.push_back(layer.output(level, c, [=](uint32_t i) { return int{taps[i][c]}; }));
    }
  }
  return expected;
}

// `step` channels at a time. Pixels of out are 3 apart, and what lies between is left alone.
template <typename Finish, typename Out>
std::vector<Out> run(const DepthwiseKernel& kernel, const NaiveLayer& layer, int level, const Input& input,
                     int num_pixels, uint32_t step, const Finish& finish, const Guarded<int32_t>& bias) {
  const uint32_t channels = layer.block.channels, depth = layer.block.depth;
  const PackedWeight weight = layer.weight_at(level);
  const size_t stride = channels + 3, last = static_cast<size_t>(num_pixels) - 1;
  const Guarded<Out> out(last * stride + channels, Out{kUntouched});
  const std::vector<nq::TapRun> runs = input.runs(num_pixels);
  const nq::DepthwisePixels pixels = {runs.data(), static_cast<int>(runs.size()), input.step};
  const Guarded<uint8_t> scratch(nq::depthwise_scratch_bytes(depth));
  for (uint32_t channel = 0; channel < channels; channel += step) {
    const nq::DepthwiseTask task = {weight,      pixels,        channel, std::min(step, channels - channel),
                                    bias.data(), scratch.data()};
    nq::run_depthwise(kernel, task, finish, out.data(), stride);
  }
  std::vector<Out> dense;
  for (size_t p = 0; p <= last; ++p) {
    dense.insert(dense.end(), out.data() + p * stride, out.data() + p * stride + channels);
    if (p == last) continue;
    const Out* gap = out.data() + p * stride + channels;
    CHECK(std::all_of(gap, gap + 3, [](Out value) { return value == Out{kUntouched}; }));
  }
  return dense;
}

void check_pixels(const DepthwiseKernel& kernel, const NaiveLayer& layer, int level, const Input& input, int num_pixels,
                  uint32_t step, const std::vector<int8_t>& expected) {
  const Guarded<int32_t> bias =
      layer.folded_bias(layer.weight_at(level), layer.input_zero_point + kernel.sum_offset, true);
  const std::vector<int8_t> got =
      run<nq::Requantization, int8_t>(kernel, layer, level, input, num_pixels, step, layer.requantization(level), bias);
  CHECK_OUTPUTS(std::string("depthwise ") + kernel.isa, expected, got);
}

void check_layer(const NaiveLayer& layer, Codes kind, std::mt19937* random) {
  const Input input(layer.block.channels, layer.block.depth, kind, random);
  for (int level = 0; level < layer.block.num_levels; ++level) {
    const std::vector<int8_t> expected = expected_output(layer, level, input);
    for (const DepthwiseKernel* kernel : supported_kernels()) {
      for (const int num_pixels : kPixels) check_pixels(*kernel, layer, level, input, num_pixels, 256, expected);
      check_pixels(*kernel, layer, level, input, kMostPixels, 64, expected);
    }
  }
}

TEST(odd_shapes_of_every_nesting) {
  std::mt19937 random(1);
  for (const auto& bits : nq_test::all_nestings()) {
    for (const uint32_t channels : kChannels) {
      for (const uint32_t depth : kDepths) {
        if (!nq_test::is_chosen()) continue;
        check_layer(NaiveLayer(Layout::kDepthwise, channels, depth, bits, Codes::kRandom, &random), Codes::kRandom,
                    &random);
      }
    }
  }
}

TEST(extreme_weights_and_activations) {
  std::mt19937 random(2);
  for (const auto& bits : nq_test::all_nestings()) {
    for (const int zero_point : {-128, 0, 127}) {
      NaiveLayer layer(Layout::kDepthwise, 65, 25, bits, Codes::kExtreme, &random);
      layer.input_zero_point = layer.zero_point = zero_point;
      check_layer(layer, Codes::kExtreme, &random);
    }
  }
}

TEST(ties_and_clamps) {
  std::mt19937 random(3);
  NaiveLayer layer(Layout::kDepthwise, 128, 3, {4, 4}, Codes::kRandom, &random);
  layer.input_zero_point = 0;
  for (uint32_t c = 0; c < 128; ++c) layer.multiplier[c] = c % 2 == 0 ? 0.5f : 1.0f / 128;
  for (const int zero_point : {-128, 0, 127}) {
    layer.zero_point = zero_point;
    layer.low = -128, layer.high = 127;
    check_layer(layer, Codes::kRandom, &random);
    layer.low = -11, layer.high = 10;
    check_layer(layer, Codes::kRandom, &random);
  }
}

TEST(sums_and_products_beyond_the_output_saturate) {
  std::mt19937 random(4);
  NaiveLayer layer(Layout::kDepthwise, 65, 1, {6, 2}, Codes::kRandom, &random);
  layer.input_zero_point = 0;
  layer.shrinks = false;
  for (uint32_t c = 0; c < 65; ++c) {
    layer.bias[c] = c % 2 == 0 ? 2147400000 : -2147400000;
    layer.multiplier[c] = c % 3 == 0 ? 3e38f : c % 3 == 1 ? 1.0f : 1e-7f;
  }
  check_layer(layer, Codes::kRandom, &random);
}

// Pixels that were quantized each in its own way, to floats: the same bits from every kernel, and nearly real
// arithmetic.
TEST(floats) {
  std::mt19937 random(4);
  for (const uint32_t channels : kChannels) {
    NaiveLayer layer(Layout::kDepthwise, channels, 9, {5, 3}, Codes::kRandom, &random);
    const Input input(channels, 9, Codes::kRandom, &random);
    nq_test::NaiveDequantization naive(layer, kMostPixels, &random);
    if (channels % 2 == 0) naive.low = -nq_test::kInfinity, naive.high = nq_test::kInfinity;
    for (int level = 0; level < 2; ++level) {
      const Guarded<int32_t> sums = layer.weight_sums(layer.weight_at(level));
      const nq::Dequantization dequantization = naive.dequantization(sums);
      std::vector<float> wanted;
      for (const DepthwiseKernel* kernel : supported_kernels()) {
        const Guarded<int32_t> bias = layer.folded_bias(layer.weight_at(level), kernel->sum_offset, false);
        const std::vector<float> got =
            run<nq::Dequantization, float>(*kernel, layer, level, input, kMostPixels, 64, dequantization, bias);
        if (wanted.empty()) wanted = got;
        CHECK_EQ(0, std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)));
      }
      for (size_t p = 0; p < kMostPixels; ++p) {
        const int8_t* const* taps = input.taps.data() + p * layer.block.depth;
        for (uint32_t c = 0; c < channels; ++c) {
          naive.check(layer, level, p, c, wanted[p * channels + c], [&](uint32_t i) { return int{taps[i][c]}; });
        }
      }
    }
  }
}

}  // namespace
