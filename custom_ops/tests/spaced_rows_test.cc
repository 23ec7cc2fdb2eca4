// Evenly spaced rows, which AMX alone takes, in emulation: against a naive computation, in memory that ends where the
// kernel may read no further.
#include <algorithm>

#include "check.h"
#include "emulated_tiles.h"
#include "kernels/gemm/gemm.h"
#include "naive_layer.h"

namespace {

using nq::GemmKernel;
using nq_test::Codes;
using nq_test::Guarded;
using nq_test::NaiveLayer;

// Bytes of memory from the first row's first piece on; rows are as GemmSpacing has them.
struct Shape {
  uint32_t num_pieces, piece_depth;
  size_t step;
  int line, length;
  size_t line_step;
  size_t behind;  // bytes that memory goes on for

  size_t place(int row) const {
    if (line_step == 0) return static_cast<size_t>(row) * step;
    return static_cast<size_t>(row / line) * line_step + static_cast<size_t>(row % line) * step;
  }
};

Shape dense(uint32_t depth, size_t step) { return {1, depth, step, 1, 1, 0, 0}; }

// Rows in memory, and what a layer gives for them at a level.
class Image {
 public:
  // Behind `depth`, rows of one piece have zeros.
  Image(const Shape& shape, int num_rows, uint32_t depth, std::mt19937* random)
      : shape_(shape),
        bytes_(kMostOffset + shape.place(num_rows - 1) + shape.piece_depth + shape.behind),
        pieces_(shape.num_pieces) {
    for (int8_t& byte : bytes_) byte = static_cast<int8_t>((*random)());
    for (int row = 0; row < num_rows && shape.num_pieces == 1; ++row) {
      std::fill_n(bytes_.data() + kMostOffset + shape.place(row) + depth, shape.piece_depth - depth, int8_t{0});
    }
    for (uint32_t k = 0; k < shape.num_pieces; ++k) {
      pieces_[k] = bytes_.data() + (k + 1 == shape.num_pieces ? kMostOffset : (*random)() % (kMostOffset + 1));
    }
  }

  bool has_output(int row) const { return row % shape_.line < shape_.length; }

  std::vector<int8_t> expected(const NaiveLayer& layer, int level, int num_rows) const {
    std::vector<int8_t> outputs;
    for (int row = 0; row < num_rows; ++row) {
      if (!has_output(row)) continue;
      std::vector<int8_t> activations;
      for (uint32_t k = 0; k < shape_.num_pieces; ++k) {
        const int8_t* piece = pieces_[k] + shape_.place(row);
        activations.insert(activations.end(), piece, piece + shape_.piece_depth);
      }
      for (uint32_t c = 0; c < layer.block.channels; ++c) {
        outputs.push_back(layer.output(level, c, [&](uint32_t i) { return int{activations[i]}; }));
      }
    }
    return outputs;
  }

  // The first rows, `step` blocks of channels at a time. Rows of out are 3 apart, and what lies between is left alone.
  void check(const GemmKernel& kernel, const NaiveLayer& layer, int level, int num_rows, uint32_t step,
             const std::vector<int8_t>& expected) const {
    constexpr int8_t kUntouched = 0x5A;
    const uint32_t channels = layer.block.channels, num_blocks = (channels + 15) / 16;
    const nq::PackedWeight weight = layer.weight_at(level);
    const Guarded<int32_t> bias = layer.folded_bias(weight, layer.input_zero_point + kernel.sum_offset, true);
    nq::GemmRows rows = {pieces_.data(), shape_.num_pieces, shape_.piece_depth, num_rows};
    rows.spacing = {shape_.step, shape_.line, shape_.length, shape_.line_step};
    size_t outputs = 0;
    for (int row = 0; row < num_rows; ++row) outputs += has_output(row) ? 1 : 0;
    const size_t stride = channels + 3;
    const Guarded<int8_t> out((outputs - 1) * stride + channels, kUntouched);
    const Guarded<uint8_t> scratch(nq::gemm_scratch_bytes(kernel, layer.block.depth, shape_.num_pieces));
    for (uint32_t block = 0; block < num_blocks; block += step) {
      const nq::GemmTask task = {weight, rows, block, std::min(step, num_blocks - block), bias.data(), scratch.data()};
      nq::run_gemm(kernel, task, layer.requantization(level), out.data(), stride);
    }
    std::vector<int8_t> got;
    for (size_t r = 0; r < outputs; ++r) {
      const int8_t* row = out.data() + r * stride;
      got.insert(got.end(), row, row + channels);
      const int8_t* gap = row + channels;
      CHECK(r + 1 == outputs || std::all_of(gap, gap + 3, [](int8_t value) { return value == kUntouched; }));
    }
    CHECK_OUTPUTS(std::string("spaced rows ") + kernel.isa, expected, got);
  }

 private:
  static constexpr size_t kMostOffset = 2000;  // of the last piece, which ends with the memory

  Shape shape_;
  Guarded<int8_t> bytes_;
  Guarded<const int8_t*> pieces_;
};

std::vector<const GemmKernel*> kernels() {
  std::vector<const GemmKernel*> kernels;
  for (const GemmKernel* kernel : nq_test::emulated_kernels()) {
    if (kernel->supported()) kernels.push_back(kernel);
  }
  for (const GemmKernel* kernel : nq::kernels_of<GemmKernel>()) {
    if (kernel->supported() && kernel->spaced.run != nullptr) kernels.push_back(kernel);
  }
  return kernels;
}

// Depths that end within a step and within four, shallow ones, and codes at every level of every nesting.
TEST(odd_shapes_of_every_nesting) {
  std::mt19937 random(1);
  for (const auto& bits : nq_test::all_nestings()) {
    for (const uint32_t depth : {3u, 27u, 64u, 100u, 161u, 290u}) {
      const NaiveLayer layer(nq::Layout::kMatrix, 49, depth, bits, Codes::kRandom, &random);
      const uint32_t row_depth = (depth + 3) / 4 * 4;
      const Image image(dense(row_depth, row_depth), 65, depth, &random);
      const int level = static_cast<int>(random() % layer.block.num_levels);
      const std::vector<int8_t> expected = image.expected(layer, level, 65);
      for (const GemmKernel* kernel : kernels()) {
        for (const int num_rows : {5, 33, 65}) image.check(*kernel, layer, level, num_rows, 8, expected);
      }
    }
  }
}

// Every number of groups and of blocks, on rings and in sets, of codes that fit in the L1 cache and that do not.
TEST(every_number_of_rows_and_channels) {
  std::mt19937 random(2);
  for (const uint32_t depth : {4u, 60u, 192u, 260u, 324u}) {
    for (const size_t step : {size_t{depth}, size_t{(depth + 32 + 63) / 64 * 64}}) {
      for (const uint32_t channels : {1u, 16u, 33u, 64u, 83u, 130u}) {
        const NaiveLayer layer(nq::Layout::kMatrix, channels, depth, {5, 3}, Codes::kRandom, &random);
        const Image image(dense(depth, step), 131, depth, &random);
        const int level = static_cast<int>(random() % 2);
        const std::vector<int8_t> expected = image.expected(layer, level, 131);
        for (const GemmKernel* kernel : kernels()) {
          for (const int num_rows : {2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 97, 112, 131}) {
            image.check(*kernel, layer, level, num_rows, 16, expected);
          }
          image.check(*kernel, layer, level, 49, 3, expected);
          image.check(*kernel, layer, level, 131, 5, expected);
        }
      }
    }
  }
}

TEST(rows_on_a_grid) {
  std::mt19937 random(11);
  for (const uint32_t num_pieces : {1u, 2u, 9u}) {
    for (const uint32_t piece_depth : {64u, num_pieces == 2 ? 192u : 64u}) {
      for (const uint32_t channels : {16u, 41u, 130u}) {
        const uint32_t depth = num_pieces * piece_depth;
        const NaiveLayer layer(nq::Layout::kMatrix, channels, depth, {5, 3}, Codes::kRandom, &random);
        for (const auto& [line, length] : {std::pair(9, 7), {20, 18}, {3, 1}, {5, 5}}) {
          const Shape shape = {num_pieces, piece_depth, piece_depth, line, length, 0, 0};
          for (const int last_line : {0, 1, 2, 8}) {
            const int num_rows = last_line * line + length;
            const Image image(shape, num_rows, depth, &random);
            const std::vector<int8_t> expected = image.expected(layer, 1, num_rows);
            for (const GemmKernel* kernel : kernels()) image.check(*kernel, layer, 1, num_rows, 8, expected);
          }
        }
      }
    }
  }
}

// Pieces that begin anywhere within four codes, of rows nearer to each other than they are deep.
TEST(rows_in_strips) {
  std::mt19937 random(12);
  for (const uint32_t piece_depth : {2u, 9u, 21u, 27u, 40u, 63u}) {
    for (const uint32_t num_pieces : {2u, 3u, 7u}) {
      for (const uint32_t channels : {16u, 33u, 70u}) {
        const uint32_t depth = num_pieces * piece_depth;
        const std::vector<int> bits = piece_depth % 2 == 0 ? std::vector<int>{4, 4} : std::vector<int>{3, 1, 2};
        const NaiveLayer layer(nq::Layout::kMatrix, channels, depth, bits, Codes::kRandom, &random);
        for (const int line : {16, 17, 37}) {
          const Shape shape = {num_pieces, piece_depth, 6, line, line, 500, 64};
          for (const int lines : {1, 2, 5}) {
            const Image image(shape, lines * line, depth, &random);
            const int level = static_cast<int>(random() % bits.size());
            const std::vector<int8_t> expected = image.expected(layer, level, lines * line);
            for (const GemmKernel* kernel : kernels()) image.check(*kernel, layer, level, lines * line, 8, expected);
          }
        }
      }
    }
  }
}

TEST(every_clamp) {
  std::mt19937 random(5);
  const Image image(dense(68, 68), 80, 68, &random);
  for (const uint32_t channels : {16u, 32u, 48u, 64u}) {
    NaiveLayer layer(nq::Layout::kMatrix, channels, 68, {4, 4}, Codes::kExtreme, &random);
    for (const int zero_point : {-128, 3, 127}) {
      for (const auto& [low, high] : {std::pair(-128, 127), {-11, 127}, {-128, 10}}) {
        for (const bool shrinks : {false, true}) {
          layer.zero_point = zero_point;
          layer.low = static_cast<int8_t>(low), layer.high = static_cast<int8_t>(high);
          layer.shrinks = shrinks;
          const std::vector<int8_t> expected = image.expected(layer, 1, 80);
          for (const GemmKernel* kernel : kernels()) image.check(*kernel, layer, 1, 80, 8, expected);
        }
      }
    }
  }
}

}  // namespace
