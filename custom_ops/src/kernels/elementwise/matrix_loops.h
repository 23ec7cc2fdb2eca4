// Products of float matrices, for float_loops.h. Each output is a sum in one order, whatever the tile it lies in, and
// so the same on every ISA; what does not fill a tile is computed by itself.

namespace nq {
namespace {

typedef float Tile __attribute__((vector_size(64)));  // one register of AVX-512, or several
constexpr size_t kTileColumns = 16;
#if defined(__AVX512F__)
constexpr size_t kTileRows = 8;
#else
constexpr size_t kTileRows = 4;
#endif

inline void load_tile(const float* from, Tile* tile) { std::memcpy(tile, from, sizeof(Tile)); }

// A tile of outputs, its sums in registers; `a` and `out` are at its first row, `b` at its first column.
template <size_t kRows>
[[gnu::always_inline]] inline void multiply_tile(const float* a, const float* b, const MatrixSizes& sizes, float* out) {
  Tile sums[kRows] = {};
  for (size_t k = 0; k < sizes.depth; ++k) {
    Tile factors;
    load_tile(b + k * sizes.columns, &factors);
#pragma GCC unroll 8
    for (size_t row = 0; row < kRows; ++row) sums[row] = sums[row] + factors * a[row * sizes.depth + k];
  }
#pragma GCC unroll 8
  for (size_t row = 0; row < kRows; ++row) std::memcpy(out + row * sizes.columns, &sums[row], sizeof(Tile));
}

void multiply_matrices(const float* a, const float* b, const MatrixSizes& sizes, float* out) {
  const size_t whole = sizes.columns / kTileColumns * kTileColumns;
  size_t row = 0;
  for (; row + kTileRows <= sizes.rows; row += kTileRows) {
    for (size_t column = 0; column < whole; column += kTileColumns) {
      multiply_tile<kTileRows>(a + row * sizes.depth, b + column, sizes, out + row * sizes.columns + column);
    }
  }
  for (; row < sizes.rows; ++row) {
    for (size_t column = 0; column < whole; column += kTileColumns) {
      multiply_tile<1>(a + row * sizes.depth, b + column, sizes, out + row * sizes.columns + column);
    }
  }
  for (row = 0; row < sizes.rows; ++row) {
    for (size_t column = whole; column < sizes.columns; ++column) {
      float sum = 0;
      for (size_t k = 0; k < sizes.depth; ++k) sum += a[row * sizes.depth + k] * b[k * sizes.columns + column];
      out[row * sizes.columns + column] = sum;
    }
  }
}

// In kLanes sums, as sum_floats has it.
float dot_product(const float* __restrict a, const float* __restrict b, size_t count) {
  Tile sums = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Tile of_a, of_b;
    load_tile(a + i, &of_a);
    load_tile(b + i, &of_b);
    sums = sums + of_a * of_b;
  }
  float lanes[kLanes];
  std::memcpy(lanes, &sums, sizeof(lanes));
  for (size_t k = 0; i + k < count; ++k) lanes[k] += a[i + k] * b[i + k];
  for (size_t half = kLanes / 2; half > 0; half /= 2) add_floats_to(lanes + half, half, lanes);
  return lanes[0];
}

void multiply_by_rows(const float* a, const float* b, const MatrixSizes& sizes, float* out) {
  for (size_t row = 0; row < sizes.rows; ++row) {
    for (size_t column = 0; column < sizes.columns; ++column) {
      *out++ = dot_product(a + row * sizes.depth, b + column * sizes.depth, sizes.depth);
    }
  }
}

}  // namespace
}  // namespace nq
