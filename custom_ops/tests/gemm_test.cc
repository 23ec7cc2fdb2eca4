// Every matrix kernel of this build that the CPU supports, and AMX's in emulation, against a naive computation.
#include "kernels/gemm/gemm.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "check.h"
#include "emulated_tiles.h"
#include "kernels/cpu.h"
#include "kernels/gemm/agreement.h"
#include "kernels/unpack/weight.h"
#include "naive_layer.h"

namespace {

using nq::GemmKernel;
using nq::Layout;
using nq::PackedWeight;
using nq_test::Codes;
using nq_test::Guarded;
using nq_test::NaiveLayer;

constexpr uint32_t kChannels[] = {1, 7, 15, 16, 17, 31, 33, 64, 65};
constexpr uint32_t kDepths[] = {1, 3, 27, 31, 32, 33, 64, 147};
constexpr int kRows[] = {1, 2, 5, 6, 12, 13, 49};
constexpr int kMostRows = 49;
constexpr int8_t kUntouched = 0x5A;

std::vector<const GemmKernel*> supported_kernels() {
  std::vector<const GemmKernel*> supported;
  for (const GemmKernel* kernel : nq::kernels_of<nq::GemmKernel>()) {
    if (kernel->supported()) supported.push_back(kernel);
  }
  return supported;
}

std::vector<const GemmKernel*> kernels_to_check() {
  std::vector<const GemmKernel*> kernels = supported_kernels();
  for (const GemmKernel* kernel : nq_test::emulated_kernels()) {
    if (kernel->supported()) kernels.push_back(kernel);
  }
  return kernels;
}

std::vector<int8_t> any_activations(size_t count, Codes kind, std::mt19937* random) {
  std::vector<int8_t> activations;
  for (; count > 0; --count) {
    const auto value = static_cast<int8_t>(static_cast<uint8_t>((*random)()));
    activations.push_back(kind == Codes::kExtreme ? static_cast<int8_t>(value < 0 ? -128 : 127) : value);
  }
  return activations;
}

std::vector<int8_t> expected_output(const NaiveLayer& layer, int level, const std::vector<int8_t>& activations) {
  std::vector<int8_t> expected;
  for (const int8_t* row = activations.data(); row != activations.data() + activations.size();
       row += layer.block.depth) {
    for (uint32_t c = 0; c < layer.block.channels; ++c) {
      expected.push_back(layer.output(level, c, [row](uint32_t i) { return int{row[i]}; }));
    }
  }
  return expected;
}

uint32_t padded_depth(const NaiveLayer& layer) { return (layer.block.depth + 3) / 4 * 4; }

// Rows as a kernel takes them: the depth filled up to a multiple of 4, in pieces that each end at a closed page.
struct Rows {
  Rows(const GemmKernel& kernel, const NaiveLayer& layer, const std::vector<int8_t>& activations, int num_rows,
       uint32_t num_pieces)
      : num_pieces(num_pieces), piece_depth(padded_depth(layer) / num_pieces) {
    CHECK_EQ(padded_depth(layer), num_pieces * piece_depth);
    const uint32_t depth = layer.block.depth;
    for (size_t r = 0; r < static_cast<size_t>(num_rows); ++r) {
      std::vector<int8_t> row(activations.begin() + r * depth, activations.begin() + (r + 1) * depth);
      row.resize(padded_depth(layer), static_cast<int8_t>(-kernel.sum_offset));
      for (uint32_t k = 0; k < num_pieces; ++k) add_piece(kernel, row.data() + k * piece_depth);
    }
  }

  // Rows of one piece at these places in a tensor that ends at a closed page.
  Rows(const GemmKernel& kernel, const NaiveLayer& layer, const std::vector<int8_t>& activations,
       const std::vector<size_t>& places)
      : num_pieces(1), piece_depth(layer.block.depth) {
    CHECK_EQ(padded_depth(layer), piece_depth);
    const size_t row_bytes = size_t{piece_depth} * kernel.activations.bytes;
    storage.emplace_back((places.back() + 1) * row_bytes, kUntouched);
    for (size_t r = 0; r < places.size(); ++r) {
      pieces.push_back(storage.back().data() + places[r] * row_bytes);
      copy(kernel, activations.data() + r * piece_depth, storage.back().data() + places[r] * row_bytes);
    }
  }

  void add_piece(const GemmKernel& kernel, const int8_t* from) {
    storage.emplace_back(size_t{piece_depth} * kernel.activations.bytes);
    copy(kernel, from, storage.back().data());
    pieces.push_back(storage.back().data());
  }

  void copy(const GemmKernel& kernel, const int8_t* from, int8_t* to) const {
    if (kernel.activations.prepare != nullptr) return kernel.activations.prepare(from, piece_depth, to);
    std::memcpy(to, from, piece_depth);
  }

  nq::GemmRows first(int num_rows) const { return {pieces.data(), num_pieces, piece_depth, num_rows}; }

  uint32_t num_pieces, piece_depth;
  std::vector<Guarded<int8_t>> storage;
  std::vector<const int8_t*> pieces;
};

// `step` blocks of channels at a time. Rows of out are 3 apart, and what lies between is left alone.
template <typename Finish, typename Out>
std::vector<Out> run(const GemmKernel& kernel, const NaiveLayer& layer, int level, const nq::GemmRows& rows,
                     uint32_t step, const Finish& finish, const Guarded<int32_t>& bias) {
  const uint32_t channels = layer.block.channels, num_blocks = (channels + 15) / 16;
  const PackedWeight weight = layer.weight_at(level);
  const size_t stride = channels + 3, last = static_cast<size_t>(rows.num_rows) - 1;
  const Guarded<Out> out(last * stride + channels, Out{kUntouched});
  const Guarded<uint8_t> scratch(nq::gemm_scratch_bytes(kernel, layer.block.depth, rows.num_pieces));
  for (uint32_t block = 0; block < num_blocks; block += step) {
    const nq::GemmTask task = {weight, rows, block, std::min(step, num_blocks - block), bias.data(), scratch.data()};
    nq::run_gemm(kernel, task, finish, out.data(), stride);
  }
  std::vector<Out> dense;
  for (size_t r = 0; r <= last; ++r) {
    dense.insert(dense.end(), out.data() + r * stride, out.data() + r * stride + channels);
    if (r == last) continue;
    const Out* gap = out.data() + r * stride + channels;
    CHECK(std::all_of(gap, gap + 3, [](Out value) { return value == Out{kUntouched}; }));
  }
  return dense;
}

void check_rows(const GemmKernel& kernel, const NaiveLayer& layer, int level, const nq::GemmRows& rows, uint32_t step,
                const std::vector<int8_t>& expected) {
  const Guarded<int32_t> bias =
      layer.folded_bias(layer.weight_at(level), layer.input_zero_point + kernel.sum_offset, true);
  const std::vector<int8_t> got =
      run<nq::Requantization, int8_t>(kernel, layer, level, rows, step, layer.requantization(level), bias);
  CHECK_OUTPUTS(std::string("gemm ") + kernel.isa, expected, got);
}

void check_layer(const NaiveLayer& layer, Codes kind, std::mt19937* random) {
  const std::vector<int8_t> activations = any_activations(size_t{layer.block.depth} * kMostRows, kind, random);
  for (int level = 0; level < layer.block.num_levels; ++level) {
    const std::vector<int8_t> expected = expected_output(layer, level, activations);
    for (const GemmKernel* kernel : kernels_to_check()) {
      const Rows rows(*kernel, layer, activations, kMostRows, 1);
      for (const int num_rows : kRows) check_rows(*kernel, layer, level, rows.first(num_rows), 8, expected);
      check_rows(*kernel, layer, level, rows.first(kMostRows), 3, expected);
    }
  }
}

TEST(odd_shapes_of_every_nesting) {
  std::mt19937 random(1);
  for (const auto& bits : nq_test::all_nestings()) {
    for (const uint32_t channels : kChannels) {
      for (const uint32_t depth : kDepths) {
        if (!nq_test::is_chosen()) continue;
        check_layer(NaiveLayer(Layout::kMatrix, channels, depth, bits, Codes::kRandom, &random), Codes::kRandom,
                    &random);
      }
    }
  }
}

TEST(extreme_weights_and_activations) {
  std::mt19937 random(2);
  for (const auto& bits : nq_test::all_nestings()) {
    NaiveLayer layer(Layout::kMatrix, 33, 147, bits, Codes::kExtreme, &random);
    check_layer(layer, Codes::kExtreme, &random);
    layer.input_zero_point = layer.zero_point = -128;
    check_layer(layer, Codes::kExtreme, &random);
    layer.input_zero_point = layer.zero_point = 127;
    check_layer(layer, Codes::kExtreme, &random);
  }
}

// All products are 128 * 128, the largest, in a depth that takes one row through several pieces of scratch.
TEST(largest_sum) {
  std::mt19937 random(3);
  NaiveLayer layer(Layout::kMatrix, 17, 1000, {5, 3}, Codes::kExtreme, &random);
  std::fill(layer.codes.begin(), layer.codes.end(), int8_t{-128});
  for (int k = 0; k < 2; ++k) {
    const nq_test::Bytes packed = nq_test::pack_level(layer.block, k, layer.codes);
    std::copy(packed.begin(), packed.end(), layer.levels[static_cast<size_t>(k)].begin());
  }
  layer.input_zero_point = 0;
  std::fill(layer.multiplier.begin(), layer.multiplier.end(), 100.0f / (1000.0f * 128 * 128));
  const std::vector<int8_t> activations(size_t{1000} * kMostRows, -128);
  CHECK_EQ(103, int{expected_output(layer, 1, activations)[0]});
  for (const GemmKernel* kernel : kernels_to_check()) {
    const Rows rows(*kernel, layer, activations, kMostRows, 1);
    check_rows(*kernel, layer, 1, rows.first(kMostRows), 2, expected_output(layer, 1, activations));
    check_rows(*kernel, layer, 1, rows.first(1), 2, expected_output(layer, 1, activations));
  }
}

TEST(rows_in_pieces) {
  std::mt19937 random(8);
  for (const uint32_t num_pieces : {2u, 3u, 9u}) {
    for (const uint32_t piece_depth : {4u, 20u, 24u, 64u}) {
      NaiveLayer layer(Layout::kMatrix, 70, num_pieces * piece_depth, {5, 3}, Codes::kRandom, &random);
      const std::vector<int8_t> activations =
          any_activations(size_t{layer.block.depth} * kMostRows, Codes::kRandom, &random);
      for (const GemmKernel* kernel : kernels_to_check()) {
        if (!kernel->activations.gathers || piece_depth % kernel->activations.piece_step != 0) continue;
        const Rows rows(*kernel, layer, activations, kMostRows, num_pieces);
        for (const int num_rows : kRows) {
          check_rows(*kernel, layer, 1, rows.first(num_rows), 8, expected_output(layer, 1, activations));
        }
      }
    }
  }
}

std::vector<size_t> places_of_rows(size_t (*place)(size_t row)) {
  std::vector<size_t> places;
  for (size_t r = 0; r < kMostRows; ++r) places.push_back(place(r));
  return places;
}

// Pixels as a pointwise convolution finds them: without gaps, with a stride, and at the end of a strided image's rows.
TEST(rows_of_one_tensor) {
  std::mt19937 random(10);
  const std::vector<size_t> all_places[] = {places_of_rows([](size_t r) { return r; }),
                                            places_of_rows([](size_t r) { return 2 * r; }),
                                            places_of_rows([](size_t r) { return 2 * r + r / 7 * 14; }),
                                            places_of_rows([](size_t r) { return r + (r > 30 ? 1 : 0); })};
  for (const uint32_t depth : {4u, 32u, 60u, 64u, 68u, 96u, 128u, 164u, 260u}) {
    for (const uint32_t channels : {16u, 32u, 41u, 130u}) {
      const NaiveLayer layer(Layout::kMatrix, channels, depth, {5, 3}, Codes::kRandom, &random);
      const std::vector<int8_t> activations = any_activations(size_t{depth} * kMostRows, Codes::kRandom, &random);
      const int level = static_cast<int>(random() % 2);
      const std::vector<int8_t> expected = expected_output(layer, level, activations);
      for (const GemmKernel* kernel : kernels_to_check()) {
        for (const std::vector<size_t>& places : all_places) {
          const Rows rows(*kernel, layer, activations, places);
          for (const int num_rows : {1, 2, 15, 16, 17, 24, 31, 32, 33, 48, 49}) {
            check_rows(*kernel, layer, level, rows.first(num_rows), 8, expected);
          }
        }
      }
    }
  }
}

// Sums of weights of any size, some of which have more bits than a pair of words.
TEST(zero_points_times_any_sum_of_weights) {
  std::mt19937 random(14);
  constexpr uint32_t kChannels = 50;
  for (const GemmKernel* kernel : kernels_to_check()) {
    if (kernel->sums.dequantize == nullptr) continue;
    for (int round = 0; round < 200; ++round) {
      const int bits = static_cast<int>(random() % 29) + 2;
      const int rows = std::min(kernel->rows, 3);
      std::vector<int32_t> sums(3 * nq::kTileChannels), weight_sums(nq::kTileChannels), zero_points(3);
      std::vector<float> scales(nq::kTileChannels, 0.5f), biases(nq::kTileChannels, 1.0f), row_scales(3, 0.25f);
      for (int32_t& sum : sums) sum = static_cast<int32_t>(random()) >> 4;
      for (int32_t& sum : weight_sums) sum = static_cast<int32_t>(random()) >> (32 - bits);
      for (int32_t& zero_point : zero_points) zero_point = static_cast<int32_t>(random() % 256) - 128;
      const nq::Dequantization to = {row_scales.data(), zero_points.data(),  weight_sums.data(), scales.data(),
                                     biases.data(),     -nq_test::kInfinity, nq_test::kInfinity, 1};
      std::vector<float> out(3 * kChannels);
      kernel->sums.dequantize(sums.data(), rows, to, out.data(), kChannels, kChannels);
      for (size_t i = 0; i < static_cast<size_t>(rows) * kChannels; ++i) {
        const size_t row = i / kChannels, c = i % kChannels;
        const auto product = static_cast<uint32_t>(zero_points[row]) * static_cast<uint32_t>(weight_sums[c]);
        const auto centred = static_cast<int32_t>(static_cast<uint32_t>(sums[row * nq::kTileChannels + c]) - product);
        ASSERT_EQ(static_cast<float>(centred) * 0.125f + 1.0f, out[i]) << kernel->isa;
      }
    }
  }
}

// Rows that were quantized each in its own way, to floats: the same bits from every kernel, and nearly real arithmetic.
TEST(floats) {
  std::mt19937 random(9);
  for (const uint32_t depth : {1u, 33u, 147u, 300u}) {
    NaiveLayer layer(Layout::kMatrix, 83, depth, {5, 3}, Codes::kRandom, &random);
    const std::vector<int8_t> activations = any_activations(size_t{depth} * kMostRows, Codes::kRandom, &random);
    nq_test::NaiveDequantization naive(layer, kMostRows, &random);
    if (depth % 2 == 0) naive.low = -nq_test::kInfinity, naive.high = nq_test::kInfinity;
    for (int level = 0; level < 2; ++level) {
      const Guarded<int32_t> sums = layer.weight_sums(layer.weight_at(level));
      const nq::Dequantization dequantization = naive.dequantization(sums);
      std::vector<float> wanted;
      for (const GemmKernel* kernel : kernels_to_check()) {
        const Rows rows(*kernel, layer, activations, kMostRows, 1);
        const Guarded<int32_t> bias = layer.folded_bias(layer.weight_at(level), kernel->sum_offset, false);
        for (const int num_rows : kRows) {
          const std::vector<float> got =
              run<nq::Dequantization, float>(*kernel, layer, level, rows.first(num_rows), 3, dequantization, bias);
          if (wanted.empty() || wanted.size() < got.size()) wanted = got;
          CHECK_EQ(0, std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)));
        }
      }
      for (size_t r = 0; r < kMostRows; ++r) {
        for (uint32_t c = 0; c < layer.block.channels; ++c) {
          naive.check(layer, level, r, c, wanted[r * layer.block.channels + c],
                      [&](uint32_t i) { return int{activations[r * depth + i]}; });
        }
      }
    }
  }
}

TEST(long_depth_in_one_row) {
  std::mt19937 random(4);
  for (const uint32_t depth : {255u, 256u, 257u, 511u, 1280u}) {
    check_layer(NaiveLayer(Layout::kMatrix, 81, depth, {4, 4}, Codes::kRandom, &random), Codes::kRandom, &random);
  }
}

// Sums of -20 to 20 halved: every other output is a tie.
TEST(ties_and_clamps) {
  std::mt19937 random(5);
  NaiveLayer layer(Layout::kMatrix, 64, 1, {4, 4}, Codes::kRandom, &random);
  layer.input_zero_point = 0;
  layer.shrinks = false;
  for (uint32_t c = 0; c < 64; ++c) {
    layer.bias[c] = static_cast<int32_t>(c) - 32;
    layer.multiplier[c] = c % 2 == 0 ? 0.5f : 1.5f;
  }
  for (const int zero_point : {-128, -1, 0, 1, 127}) {
    layer.zero_point = zero_point;
    layer.low = -128, layer.high = 127;
    check_layer(layer, Codes::kRandom, &random);
    layer.low = -11, layer.high = 10;
    check_layer(layer, Codes::kRandom, &random);
  }
  CHECK_EQ(0, int{[&] {
             layer.zero_point = 0;
             return layer.requantized(1, 0);
           }()});
}

TEST(sums_and_products_beyond_the_output_saturate) {
  std::mt19937 random(6);
  NaiveLayer layer(Layout::kMatrix, 33, 1, {6, 2}, Codes::kRandom, &random);
  layer.input_zero_point = 0;
  layer.shrinks = false;
  for (uint32_t c = 0; c < 33; ++c) {
    layer.bias[c] = c % 2 == 0 ? 2147400000 : -2147400000;
    layer.multiplier[c] = c % 3 == 0 ? 3e38f : c % 3 == 1 ? 1.0f : 1e-7f;
  }
  check_layer(layer, Codes::kRandom, &random);
}

TEST(channel_sums_leave_padding_out) {
  std::mt19937 random(7);
  for (const Layout layout : {Layout::kMatrix, Layout::kDepthwise}) {
    for (const uint32_t channels : kChannels) {
      for (const uint32_t depth : kDepths) {
        const NaiveLayer layer(layout, channels, depth, {5, 3}, Codes::kRandom, &random);
        for (int level = 0; level < 2; ++level) {
          const nq::ChannelSums found = nq::channel_sums(layer.weight_at(level));
          CHECK_EQ((size_t{channels} + 63) / 64 * 64, found.sums.size());
          int least = 0;
          for (uint32_t c = 0; c < found.sums.size(); ++c) {
            int sum = 0, magnitude = 0;
            for (uint32_t i = 0; c < channels && i < depth; ++i) {
              const int weight = layer.weight(level, c, i);
              sum += weight, magnitude += std::abs(weight), least = std::min(least, weight);
            }
            CHECK_EQ(sum, found.sums[c]);
            CHECK_EQ(magnitude, found.magnitudes[c]);
          }
          CHECK_EQ(least, int{found.least});
        }
      }
    }
  }
}

void multiply_to_zero(const nq::GemmTile&, const nq::Requantization&, int8_t* out, size_t, uint32_t num_channels) {
  std::fill(out, out + num_channels, int8_t{0});
}

TEST(agreement_with_the_scalar_kernel) {
  for (const GemmKernel* kernel : kernels_to_check()) {
    const bool takes_codes_as_they_lie = kernel->activations.piece_step == nq::kDepthPerBlock;
    if (kernel->activations.prepare == nullptr && kernel->sum_offset == 0 && takes_codes_as_they_lie) {
      CHECK(nq::agrees_with_scalar(*kernel));
    }
  }
  GemmKernel wrong = *supported_kernels().front();
  CHECK(nq::agrees_with_scalar(wrong));
  wrong.multiply = multiply_to_zero;
  CHECK(!nq::agrees_with_scalar(wrong));
}

#if defined(NQ_AMX)
// Dispatch would hide a kernel that is wrong on the real instructions.
TEST(amx_agrees_where_there_is_amx) {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  std::ifstream file("/proc/cpuinfo");
  const std::string cpu((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!nq_test::contains(cpu, "amx_int8") || syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return;
  CHECK(nq::has_amx());
}
#endif

}  // namespace
