// Products of float matrices, for float_loops.h. Each output is one sum, in the order of the depth, and each step of it
// is rounded once: the same on every ISA, whatever the tile that it lies in.

namespace nq {
namespace {

// kPanelColumns floats, in one register or several.
#if defined(__AVX512F__)
struct Columns {
  __m512 values = _mm512_setzero_ps();
  void load(const float* from) { values = _mm512_loadu_ps(from); }
  void store(float* to) const { _mm512_storeu_ps(to, values); }
  void add_product(float a, const Columns& b) { values = _mm512_fmadd_ps(_mm512_set1_ps(a), b.values, values); }
};
constexpr size_t kTileRows = 12, kTilePanels = 2;
#elif defined(__FMA__)
struct Columns {
  __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
  void load(const float* from) { low = _mm256_loadu_ps(from), high = _mm256_loadu_ps(from + 8); }
  void store(float* to) const { _mm256_storeu_ps(to, low), _mm256_storeu_ps(to + 8, high); }
  void add_product(float a, const Columns& b) {
    const __m256 factor = _mm256_set1_ps(a);
    low = _mm256_fmadd_ps(factor, b.low, low), high = _mm256_fmadd_ps(factor, b.high, high);
  }
};
constexpr size_t kTileRows = 6, kTilePanels = 1;
#elif defined(__aarch64__)
struct Columns {
  float32x4_t values[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  void load(const float* from) {
    for (int i = 0; i < 4; ++i) values[i] = vld1q_f32(from + 4 * i);
  }
  void store(float* to) const {
    for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, values[i]);
  }
  void add_product(float a, const Columns& b) {
    for (int i = 0; i < 4; ++i) values[i] = vfmaq_n_f32(values[i], b.values[i], a);
  }
  template <int kLane>
  [[gnu::always_inline]] void add_product(float32x4_t a, const Columns& b) {
    for (int i = 0; i < 4; ++i) values[i] = vfmaq_laneq_f32(values[i], b.values[i], a, kLane);
  }
};
constexpr size_t kTileRows = 4, kTilePanels = 1;

template <int kLane, size_t kRows>
[[gnu::always_inline]] inline void add_lane(const float32x4_t (&factors)[kRows], const float* panel,
                                            Columns (&sums)[kRows][1]) {
  Columns b;
  b.load(panel + kLane * kPanelColumns);
#pragma GCC unroll 4
  for (size_t row = 0; row < kRows; ++row) sums[row][0].template add_product<kLane>(factors[row], b);
}

// Steps of four of the depth, whose factors are one load a row. Returns how many they were.
template <size_t kRows>
[[gnu::always_inline]] inline size_t add_fours(const PanelProduct& product, const float* a, const float* panel,
                                               Columns (&sums)[kRows][1]) {
  size_t k = 0;
  for (; k + 4 <= product.depth; k += 4, panel += 4 * kPanelColumns) {
    float32x4_t factors[kRows];
#pragma GCC unroll 4
    for (size_t row = 0; row < kRows; ++row) {
      factors[row] = vld1q_f32(a + static_cast<int64_t>(row) * product.a_stride + static_cast<int64_t>(k));
    }
    add_lane<0>(factors, panel, sums);
    add_lane<1>(factors, panel, sums);
    add_lane<2>(factors, panel, sums);
    add_lane<3>(factors, panel, sums);
  }
  return k;
}
#else
struct Columns {
  float values[kPanelColumns] = {};
  void load(const float* from) { std::memcpy(values, from, sizeof(values)); }
  void store(float* to) const { std::memcpy(to, values, sizeof(values)); }
  void add_product(float a, const Columns& b) {
    for (size_t i = 0; i < kPanelColumns; ++i) values[i] = multiply_add(a, b.values[i], values[i]);
  }
};
constexpr size_t kTileRows = 4, kTilePanels = 1;
#endif

// Four columns of four floats each, which lie together, as rows of a panel.
inline void transpose_4_by_4(const float* from, int64_t column_stride, float* panel) {
#if defined(__AVX2__)
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + column_stride);
  __m128 c = _mm_loadu_ps(from + 2 * column_stride), d = _mm_loadu_ps(from + 3 * column_stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(panel, a), _mm_storeu_ps(panel + kPanelColumns, b);
  _mm_storeu_ps(panel + 2 * kPanelColumns, c), _mm_storeu_ps(panel + 3 * kPanelColumns, d);
#elif defined(__aarch64__)
  const float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + column_stride);
  const float32x4_t c = vld1q_f32(from + 2 * column_stride), d = vld1q_f32(from + 3 * column_stride);
  const auto pairs = [](float32x4_t x, float32x4_t y) { return vreinterpretq_f64_f32(vtrn1q_f32(x, y)); };
  const auto others = [](float32x4_t x, float32x4_t y) { return vreinterpretq_f64_f32(vtrn2q_f32(x, y)); };
  const auto store = [](float* to, float64x2_t row) { vst1q_f32(to, vreinterpretq_f32_f64(row)); };
  store(panel, vzip1q_f64(pairs(a, b), pairs(c, d)));
  store(panel + kPanelColumns, vzip1q_f64(others(a, b), others(c, d)));
  store(panel + 2 * kPanelColumns, vzip2q_f64(pairs(a, b), pairs(c, d)));
  store(panel + 3 * kPanelColumns, vzip2q_f64(others(a, b), others(c, d)));
#else
  for (int64_t c = 0; c < 4; ++c) {
    for (size_t k = 0; k < 4; ++k) panel[k * kPanelColumns + static_cast<size_t>(c)] = from[c * column_stride + k];
  }
#endif
}

// Columns of which each lies together: a panel's line is written whole before the next one.
inline void pack_columns(const float* from, size_t depth, size_t columns, int64_t column_stride, float* panel) {
  for (size_t k = 0; k < depth;) {
    const size_t deep = depth - k < 4 ? 1 : 4;
    size_t c = 0;
    for (; deep == 4 && c + 4 <= columns; c += 4) {
      transpose_4_by_4(from + static_cast<int64_t>(c) * column_stride + k, column_stride, panel + c);
    }
    for (; c < columns; ++c) {
      const float* column = from + static_cast<int64_t>(c) * column_stride + k;
      for (size_t d = 0; d < deep; ++d) panel[d * kPanelColumns + c] = column[d];
    }
    k += deep;
    panel += deep * kPanelColumns;
  }
}

void pack_panels(const float* from, const PanelSource& source, float* panels) {
  for (size_t first = 0; first < source.columns; first += kPanelColumns) {
    const size_t columns = source.columns - first < kPanelColumns ? source.columns - first : kPanelColumns;
    const float* column = from + static_cast<int64_t>(first) * source.column_stride;
    if (columns < kPanelColumns) std::memset(panels, 0, source.depth * kPanelColumns * sizeof(float));
    if (source.column_stride == 1 && columns == kPanelColumns) {
      for (size_t k = 0; k < source.depth; ++k) {  // a copy of a size that compilers know
        std::memcpy(panels + k * kPanelColumns, column + static_cast<int64_t>(k) * source.depth_stride,
                    kPanelColumns * sizeof(float));
      }
    } else if (source.depth_stride == 1) {
      pack_columns(column, source.depth, columns, source.column_stride, panels);
    } else {
      for (size_t c = 0; c < columns; ++c, column += source.column_stride) {
        for (size_t k = 0; k < source.depth; ++k) {
          panels[k * kPanelColumns + c] = column[static_cast<int64_t>(k) * source.depth_stride];
        }
      }
    }
    panels += source.depth * kPanelColumns;
  }
}

// A tile of outputs, its sums in registers; `columns` of it are wanted.
template <size_t kRows, size_t kPanels>
[[gnu::always_inline]] inline void multiply_tile(const PanelProduct& product, const float* a, const float* panels,
                                                 size_t columns, float* out) {
  Columns sums[kRows][kPanels];
#if defined(__aarch64__)
  size_t k = add_fours(product, a, panels, sums);
#else
  size_t k = 0;
#endif
  for (; k < product.depth; ++k) {
    Columns b[kPanels];
    for (size_t p = 0; p < kPanels; ++p) b[p].load(panels + (p * product.depth + k) * kPanelColumns);
#pragma GCC unroll 12
    for (size_t row = 0; row < kRows; ++row) {
      const float factor = a[static_cast<int64_t>(row) * product.a_stride + static_cast<int64_t>(k)];
      for (size_t p = 0; p < kPanels; ++p) sums[row][p].add_product(factor, b[p]);
    }
  }
#pragma GCC unroll 12
  for (size_t row = 0; row < kRows; ++row) {
    float* to = out + static_cast<int64_t>(row) * product.out_stride;
    for (size_t p = 0; p < kPanels; ++p) {
      const size_t left = columns - p * kPanelColumns;
      if (left >= kPanelColumns) {
        sums[row][p].store(to + p * kPanelColumns);
      } else {
        float last[kPanelColumns];
        sums[row][p].store(last);
        std::memcpy(to + p * kPanelColumns, last, left * sizeof(float));
      }
    }
  }
}

template <size_t kRows>
void multiply_rows(const PanelProduct& product, const float* a, const float* panels, float* out) {
  constexpr size_t kColumns = kTilePanels * kPanelColumns;
  size_t column = 0;
  for (; column + kColumns <= product.columns; column += kColumns) {
    multiply_tile<kRows, kTilePanels>(product, a, panels + column * product.depth, kColumns, out + column);
  }
  for (; column < product.columns; column += kPanelColumns) {
    multiply_tile<kRows, 1>(product, a, panels + column * product.depth, product.columns - column, out + column);
  }
}

// Whole tiles of rows, then a tile of fewer.
template <size_t kRows>
void multiply_at_most(const PanelProduct& product, const float* a, const float* panels, size_t rows, float* out) {
  for (; rows >= kRows; rows -= kRows) {
    multiply_rows<kRows>(product, a, panels, out);
    a += static_cast<int64_t>(kRows) * product.a_stride;
    out += static_cast<int64_t>(kRows) * product.out_stride;
  }
  if constexpr (kRows > 1) {
    if (rows > 0) multiply_at_most<kRows / 2>(product, a, panels, rows, out);
  }
}

void multiply_panels(const PanelProduct& product, const float* a, const float* panels, float* out) {
  multiply_at_most<kTileRows>(product, a, panels, product.rows, out);
}

}  // namespace
}  // namespace nq
