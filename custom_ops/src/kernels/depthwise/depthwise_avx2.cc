// Two taps at a time, in int16: 16 channels of both are interleaved, widened and multiplied pairwise.
#if defined(__AVX2__)
#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/depthwise/depthwise_pixels.h"
#include "kernels/requantize/requantize_avx2.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_avx2;

namespace {

constexpr uint32_t kChannels = 16;  // multiplied together
constexpr uint32_t kWeightsPerPair = 2 * kDepthwiseChannels;

struct Pair {
  __m256i low, high;  // 8 channels each
};

inline Pair interleave(__m128i first, __m128i second) {
  return {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)),
          _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second))};
}

inline __m128i load(const int8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// Bytes behind the first `count` may lie outside the tensor.
inline __m128i load_first(const int8_t* bytes, uint32_t count) {
  alignas(16) int8_t all[kChannels] = {};
  std::memcpy(all, bytes, count);
  return load(all);
}

// An odd last tap is paired with one of weight 0.
void interleave_weights(const DepthwiseTile& tile, int16_t* weights) {
  for (uint32_t t = 0; t < tile.depth; t += 2) {
    for (uint32_t c = 0; c < kDepthwiseChannels; c += kChannels, weights += 2 * kChannels) {
      const int8_t* codes = tile.codes + size_t{t} * kLineBytes + c;
      const Pair pair = interleave(load(codes), t + 1 < tile.depth ? load(codes + kLineBytes) : _mm_setzero_si128());
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights), pair.low);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + kChannels), pair.high);
    }
  }
}

inline __m256i multiply_add(__m256i sums, __m256i taps, const int16_t* weights) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(taps, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights))));
}

template <typename Load>
[[gnu::always_inline]] inline Pair multiply_pixel(const int8_t* const* taps, uint32_t depth, size_t channel,
                                                  const int16_t* weights, const int32_t* bias, const Load& load_tap) {
  Pair sums = {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias)),
               _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias + 8))};
  for (uint32_t t = 0; t < depth; t += 2, weights += kWeightsPerPair) {
    const __m128i first = load_tap(taps[t] + channel);
    const Pair pair = interleave(first, t + 1 < depth ? load_tap(taps[t + 1] + channel) : first);
    sums = {multiply_add(sums.low, pair.low, weights), multiply_add(sums.high, pair.high, weights + kChannels)};
  }
  return sums;
}

[[gnu::always_inline]] inline Pair multiply_channels(const DepthwiseTile& tile, uint32_t depth,
                                                     const int8_t* const* taps, size_t offset, uint32_t c,
                                                     const int16_t* weights) {
  const uint32_t count = tile.num_channels - c;
  const size_t channel = offset + tile.first_channel + c;
  if (count >= kChannels) return multiply_pixel(taps, depth, channel, weights + 2 * c, tile.bias + c, load);
  return multiply_pixel(taps, depth, channel, weights + 2 * c, tile.bias + c,
                        [count](const int8_t* bytes) { return load_first(bytes, count); });
}

// A `depth` that the compiler knows makes one run of instructions of a pixel's taps.
[[gnu::always_inline]] inline void multiply_pixels(const DepthwiseTile& tile, uint32_t depth,
                                                   const Requantization& requantization, int8_t* out,
                                                   size_t out_stride) {
  const auto* weights = reinterpret_cast<const int16_t*>(tile.scratch);
  const Requantizer requantizer = make_requantizer(requantization);
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    int8_t* to = out + pixel * out_stride;
    for (uint32_t c = 0; c < tile.num_channels; c += kChannels) {
      const uint32_t count = tile.num_channels - c;
      const Pair sums = multiply_channels(tile, depth, taps, offset, c, weights);
      const float* multiplier = requantization.multiplier + c;
      if (requantization.shrinks) {
        const __m128i codes = requantize_two(requantizer, sums.low, _mm256_loadu_ps(multiplier), sums.high,
                                             _mm256_loadu_ps(multiplier + 8));
        store_row(codes, count, to + c);
        continue;
      }
      store_channels(requantizer, sums.low, multiplier, count, to + c);
      if (count > 8) store_channels(requantizer, sums.high, multiplier + 8, count - 8, to + c + 8);
    }
  });
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  const unsigned rounding = round_to_nearest();
  interleave_weights(tile, reinterpret_cast<int16_t*>(tile.scratch));
  if (tile.depth == 9) {
    multiply_pixels(tile, 9, requantization, out, out_stride);
  } else {
    multiply_pixels(tile, tile.depth, requantization, out, out_stride);
  }
  round_as_before(rounding);
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  auto* weights = reinterpret_cast<int16_t*>(tile.scratch);
  interleave_weights(tile, weights);
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    const Dequantization of_row = dequantization.from_row(pixel);
    float* to = out + pixel * out_stride;
    for (uint32_t c = 0; c < tile.num_channels; c += kChannels) {
      const uint32_t count = tile.num_channels - c;
      const Pair sums = multiply_channels(tile, tile.depth, taps, offset, c, weights);
      store_floats(make_dequantizer(of_row, c), sums.low, count, to + c);
      if (count > 8) store_floats(make_dequantizer(of_row, c + 8), sums.high, count - 8, to + c + 8);
    }
  });
}

}  // namespace

constexpr DepthwiseKernel depthwise_avx2 = [] {
  DepthwiseKernel kernel;
  kernel.isa = "avx2";
  kernel.supported = has_avx2;
  kernel.unpack = unpack_avx2;
  kernel.multiply = multiply;
  kernel.multiply_float = multiply_float;
  return kernel;
}();

}  // namespace nq
#endif
