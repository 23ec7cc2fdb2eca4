// Products of int8 matrices, sums and rescaling of int8, for elementwise_loops.h. All of it is exact.

namespace nq {
namespace {

// A group of codes along the depth is multiplied at a time, by as many of each of a panel's columns.
#if defined(__AVX512VNNI__)
constexpr size_t kGroup = 4, kCodeRows = 12, kCodePanels = 2;
using PanelCode = uint8_t;  // 128 more than the code: the instruction multiplies unsigned bytes by signed ones
constexpr int32_t kPanelOffset = 128;
struct CodeSums {
  __m512i values = _mm512_setzero_si512();
  void store(int32_t* to) const { _mm512_storeu_si512(to, values); }
  void add_product(const int8_t* a, const PanelCode* b) {
    int32_t group;
    std::memcpy(&group, a, sizeof(group));
    values = _mm512_dpbusd_epi32(values, _mm512_loadu_si512(b), _mm512_set1_epi32(group));
  }
};
#elif defined(__AVX2__)
constexpr size_t kGroup = 4, kCodeRows = 3, kCodePanels = 1;
using PanelCode = int16_t;
constexpr int32_t kPanelOffset = 0;
struct CodeSums {
  __m256i values[4];  // of four columns each, in two parts that lie side by side
  CodeSums() {
    for (__m256i& each : values) each = _mm256_setzero_si256();
  }
  void store(int32_t* to) const {
    for (int i = 0; i < 2; ++i) {
      const __m256i joined = _mm256_hadd_epi32(values[2 * i], values[2 * i + 1]);  // columns 0 1 4 5 2 3 6 7
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8 * i), _mm256_permute4x64_epi64(joined, 0xD8));
    }
  }
  void add_product(const int8_t* a, const PanelCode* b) {
    int32_t group;
    std::memcpy(&group, a, sizeof(group));
    const __m256i factors = _mm256_cvtepi8_epi16(_mm_set1_epi32(group));
    const auto* vectors = reinterpret_cast<const __m256i*>(b);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      values[i] = _mm256_add_epi32(values[i], _mm256_madd_epi16(_mm256_loadu_si256(vectors + i), factors));
    }
  }
};
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr size_t kGroup = 4, kCodeRows = 4, kCodePanels = 1;
using PanelCode = int8_t;
constexpr int32_t kPanelOffset = 0;
struct CodeSums {
  int32x4_t values[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
  void store(int32_t* to) const {
    for (int i = 0; i < 4; ++i) vst1q_s32(to + 4 * i, values[i]);
  }
  void add_product(const int8_t* a, const PanelCode* b) {
    int32_t group;
    std::memcpy(&group, a, sizeof(group));
    const int8x16_t factors = vreinterpretq_s8_s32(vdupq_n_s32(group));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) values[i] = vdotq_s32(values[i], vld1q_s8(b + 16 * i), factors);
  }
};
#elif defined(__aarch64__)
constexpr size_t kGroup = 4, kCodeRows = 2, kCodePanels = 1;  // all that 32 registers have room for
using PanelCode = int8_t;
constexpr int32_t kPanelOffset = 0;
struct CodeSums {
  int32x4_t values[8];  // of two columns each, in two parts that lie side by side
  CodeSums() {
    for (int32x4_t& each : values) each = vdupq_n_s32(0);
  }
  void store(int32_t* to) const {
    for (int i = 0; i < 4; ++i) vst1q_s32(to + 4 * i, vpaddq_s32(values[2 * i], values[2 * i + 1]));
  }
  void add_product(const int8_t* a, const PanelCode* b) {
    int32_t group;
    std::memcpy(&group, a, sizeof(group));
    const int8x16_t factors = vreinterpretq_s8_s32(vdupq_n_s32(group));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int8x16_t columns = vld1q_s8(b + 16 * i);
      const int16x8_t low = vmull_s8(vget_low_s8(columns), vget_low_s8(factors));
      values[2 * i] = vpadalq_s16(values[2 * i], low);
      values[2 * i + 1] = vpadalq_s16(values[2 * i + 1], vmull_high_s8(columns, factors));
    }
  }
};
#else
constexpr size_t kGroup = 1, kCodeRows = 4, kCodePanels = 1;
using PanelCode = int16_t;
constexpr int32_t kPanelOffset = 0;
struct CodeSums {
  int32_t values[kPanelColumns] = {};
  void store(int32_t* to) const { std::memcpy(to, values, sizeof(values)); }
  void add_product(const int8_t* a, const PanelCode* b) {
    const int16_t factor = *a;
    for (size_t i = 0; i < kPanelColumns; ++i) values[i] += factor * b[i];
  }
};
#endif

inline size_t groups_of(size_t depth) { return (depth + kGroup - 1) / kGroup; }

int32_t sum_codes(const int8_t* in, size_t count) {
  int32_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum += in[i];
  return sum;
}

// One column of a panel of zeros, from group `first` on; gives the codes' sum.
inline int32_t pack_code_column(const int8_t* code, const PanelSource& source, size_t first, PanelCode* to) {
  int32_t sum = 0;
  code += static_cast<int64_t>(first * kGroup) * source.depth_stride;
  for (size_t k = first * kGroup; k < source.depth; ++k, code += source.depth_stride) {
    sum += *code;
    to[k / kGroup * kGroup * kPanelColumns + k % kGroup] = static_cast<PanelCode>(*code + kPanelOffset);
  }
  return sum;
}

#if defined(__AVX512VNNI__)
// The whole groups of a panel whose columns lie side by side, and the sums of their codes.
inline void pack_code_lines(const int8_t* from, int64_t depth_stride, size_t groups, PanelCode* panel, int32_t* sums) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i columns = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i sum = _mm512_setzero_si512();
  for (size_t g = 0; g < groups; ++g, from += 4 * depth_stride, panel += kGroup * kPanelColumns) {
    const auto line = [&](int64_t k) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k * depth_stride));
    };
    __m512i four = _mm512_inserti32x4(_mm512_castsi128_si512(line(0)), line(1), 1);
    four = _mm512_inserti32x4(_mm512_inserti32x4(four, line(2), 2), line(3), 3);
    // Columns 4 l to 4 l + 3 of all four lines go into lane l, and there each column's codes side by side.
    const __m512i codes = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(order, four), columns);
    _mm512_storeu_si512(panel, _mm512_xor_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80))));
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), codes);
  }
  _mm512_storeu_si512(sums, sum);
}

// The whole groups of a column that lies together.
inline void pack_code_words(const int8_t* code, size_t groups, PanelCode* to) {
  for (size_t g = 0; g < groups; ++g, code += kGroup, to += kGroup * kPanelColumns) {
    uint32_t word;
    std::memcpy(&word, code, sizeof(word));
    word ^= 0x80808080u;
    std::memcpy(to, &word, sizeof(word));
  }
}
#endif

void pack_code_panels(const int8_t* from, const PanelSource& source, void* panels, int32_t* sums) {
  auto* panel = static_cast<PanelCode*>(panels);
  const size_t panel_codes = groups_of(source.depth) * kGroup * kPanelColumns;
  for (size_t first = 0; first < source.columns; first += kPanelColumns, panel += panel_codes) {
    const size_t columns = source.columns - first < kPanelColumns ? source.columns - first : kPanelColumns;
    const int8_t* codes = from + static_cast<int64_t>(first) * source.column_stride;
    std::memset(panel, 0, panel_codes * sizeof(PanelCode));
    std::memset(sums + first, 0, columns * sizeof(int32_t));
    size_t packed = 0;  // groups
#if defined(__AVX512VNNI__)
    const size_t whole = source.depth / kGroup;
    if (source.column_stride == 1 && columns == kPanelColumns) {
      packed = whole;
      pack_code_lines(codes, source.depth_stride, packed, panel, sums + first);
    } else if (source.depth_stride == 1) {
      packed = whole;
      for (size_t c = 0; c < columns; ++c) {
        const int8_t* column = codes + static_cast<int64_t>(c) * source.column_stride;
        pack_code_words(column, packed, panel + c * kGroup);
        sums[first + c] = sum_codes(column, packed * kGroup);
      }
    }
#endif
    for (size_t c = 0; c < columns && packed < groups_of(source.depth); ++c) {
      const int8_t* column = codes + static_cast<int64_t>(c) * source.column_stride;
      sums[first + c] += pack_code_column(column, source, packed, panel + c * kGroup);
    }
  }
}

// The last codes of a row, fewer than a group, and zeros.
inline void copy_last_codes(const int8_t* row, size_t depth, int8_t* group) {
  const size_t left = depth % kGroup;
  uint32_t codes = 0;
  if (depth >= kGroup) {  // not a copy of a size that compilers do not know
    std::memcpy(&codes, row + depth - kGroup, kGroup);
    codes >>= 8 * (kGroup - left);
  } else {
    std::memcpy(&codes, row, left);
  }
  std::memcpy(group, &codes, kGroup);
}

template <size_t kRows, size_t kPanels>
[[gnu::always_inline]] inline void multiply_code_tile(const PanelProduct& product, const int8_t* a,
                                                      const PanelCode* panels, size_t columns, int32_t* out) {
  constexpr size_t kStep = kGroup * kPanelColumns;
  CodeSums sums[kRows][kPanels];
  const size_t groups = groups_of(product.depth), whole = product.depth / kGroup;
  for (size_t g = 0; g < whole; ++g) {
#pragma GCC unroll 12
    for (size_t row = 0; row < kRows; ++row) {
      const int8_t* factors = a + static_cast<int64_t>(row) * product.a_stride + static_cast<int64_t>(g * kGroup);
      for (size_t p = 0; p < kPanels; ++p) sums[row][p].add_product(factors, panels + (p * groups + g) * kStep);
    }
  }
#pragma GCC unroll 12
  for (size_t row = 0; row < kRows; ++row) {
    if (whole < groups) {
      int8_t last[kGroup];
      copy_last_codes(a + static_cast<int64_t>(row) * product.a_stride, product.depth, last);
      for (size_t p = 0; p < kPanels; ++p) sums[row][p].add_product(last, panels + (p * groups + whole) * kStep);
    }
    int32_t* to = out + static_cast<int64_t>(row) * product.out_stride;
    for (size_t p = 0; p < kPanels; ++p) {
      const size_t left = columns - p * kPanelColumns;
      if (left >= kPanelColumns) {
        sums[row][p].store(to + p * kPanelColumns);
      } else {
        int32_t some[kPanelColumns];
        sums[row][p].store(some);
        std::memcpy(to + p * kPanelColumns, some, left * sizeof(int32_t));
      }
    }
  }
}

template <size_t kRows>
void multiply_code_rows(const PanelProduct& product, const int8_t* a, const PanelCode* panels, size_t rows,
                        int32_t* out) {
  constexpr size_t kColumns = kCodePanels * kPanelColumns;
  const size_t column_codes = groups_of(product.depth) * kGroup;
  for (; rows >= kRows; rows -= kRows) {
    size_t column = 0;
    for (; column + kColumns <= product.columns; column += kColumns) {
      multiply_code_tile<kRows, kCodePanels>(product, a, panels + column * column_codes, kColumns, out + column);
    }
    for (; column < product.columns; column += kPanelColumns) {
      multiply_code_tile<kRows, 1>(product, a, panels + column * column_codes, product.columns - column, out + column);
    }
    a += static_cast<int64_t>(kRows) * product.a_stride;
    out += static_cast<int64_t>(kRows) * product.out_stride;
  }
  if constexpr (kRows > 1) {
    if (rows > 0) multiply_code_rows<kRows / 2>(product, a, panels, rows, out);
  }
}

void multiply_code_panels(const PanelProduct& product, const int8_t* a, const void* panels, int32_t* out) {
  multiply_code_rows<kCodeRows>(product, a, static_cast<const PanelCode*>(panels), product.rows, out);
}

inline int8_t rescale_sum(int32_t sum, const RescalingTerms& t) {
  const int32_t shifted = static_cast<int32_t>(static_cast<uint32_t>(sum) << t.left);
  const auto high = static_cast<int32_t>((int64_t{shifted} * t.multiplier + (int64_t{1} << 30)) >> 31);
  const auto mask = static_cast<int32_t>((int64_t{1} << t.right) - 1);
  const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
  const int32_t value = (high >> t.right) + ((high & mask) > threshold ? 1 : 0);
  return clamp_code(value + t.zero_point, -128, 127);
}

void rescale_sums(const int32_t* sums, const int32_t* more, int32_t one, size_t count, const RescalingTerms& t,
                  int8_t* out) {
  size_t i = 0;
#if defined(__AVX512F__)
  const __m512i multiplier = _mm512_set1_epi32(t.multiplier), half = _mm512_set1_epi64(int64_t{1} << 30);
  const __m512i mask = _mm512_set1_epi32(static_cast<int32_t>((int64_t{1} << t.right) - 1));
  const __m512i threshold = _mm512_srli_epi32(mask, 1), zero_point = _mm512_set1_epi32(t.zero_point);
  const __m128i left = _mm_cvtsi32_si128(t.left), right = _mm_cvtsi32_si128(t.right);
  for (; i < count; i += 16) {
    const auto lanes = static_cast<__mmask16>(count - i < 16 ? (1u << (count - i)) - 1 : 0xFFFF);
    __m512i value =
        _mm512_add_epi32(_mm512_maskz_loadu_epi32(lanes, sums + i), _mm512_maskz_loadu_epi32(lanes, more + i));
    value = _mm512_sll_epi32(_mm512_add_epi32(value, _mm512_set1_epi32(one)), left);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(value, multiplier), half);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(value, 32), multiplier), half);
    value = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    const __mmask16 negative = _mm512_cmplt_epi32_mask(value, _mm512_setzero_si512());
    const __m512i least = _mm512_mask_add_epi32(threshold, negative, threshold, _mm512_set1_epi32(1));
    const __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(value, mask), least);
    value = _mm512_sra_epi32(value, right);
    value = _mm512_mask_add_epi32(value, up, value, _mm512_set1_epi32(1));
    _mm_mask_storeu_epi8(out + i, lanes, _mm512_cvtsepi32_epi8(_mm512_add_epi32(value, zero_point)));
  }
#endif
  for (; i < count; ++i) out[i] = rescale_sum(sums[i] + more[i] + one, t);
}

void weigh_floats(const float* __restrict in, size_t count, float factor, int32_t zero_point, int8_t* __restrict out) {
  for (size_t i = 0; i < count; ++i) {
    float scaled = in[i] * factor;
    scaled = scaled < 65536.0f ? scaled : 65536.0f;
    const auto whole = static_cast<int32_t>(scaled);
    const int32_t rounded = whole + (scaled - static_cast<float>(whole) >= 0.5f ? 1 : 0);
    out[i] = clamp_code(rounded + zero_point, -128, 127);
  }
}

int32_t greatest_code(const int8_t* in, size_t count) {
  int8_t greatest = -128;
  for (size_t i = 0; i < count; ++i) greatest = in[i] > greatest ? in[i] : greatest;
  return greatest;
}

constexpr ElementwiseKernel::Codes code_loops() {
  ElementwiseKernel::Codes codes;
  codes.panel_offset = kPanelOffset;
  codes.pack_panels = pack_code_panels;
  codes.multiply_panels = multiply_code_panels;
  codes.rescale = rescale_sums;
  codes.sum = sum_codes;
  codes.greatest = greatest_code;
  codes.weigh = weigh_floats;
  return codes;
}

}  // namespace
}  // namespace nq
