// A 1 x 1 convolution by SME's outer products, to count what its parts execute: a study for a kernel, not one.
// docs/sme.md has the layout. Clang alone knows arm_sme.h.
//
//   sme_layer DEPTH CHANNELS ROWS PACKS UNPACKS MULTIPLIES   does each part so often, and nothing else of weight
//   sme_layer DEPTH CHANNELS ROWS                            does all once, and compares with plain C
//
// Whole superblocks: DEPTH is a multiple of 32, CHANNELS one of 32. Vectors of 128 to 512 bits.
#include <arm_sme.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// Of Clang's runtime library, which zig's has not. No caller has data in ZA that would have to be saved.
__asm__(
    ".globl __arm_tpidr2_save, __arm_get_current_vg\n"
    "__arm_tpidr2_save: ret\n"
    "__arm_get_current_vg: mov x0, #0\n"
    " ret\n");

enum { kBlock = 64, kLevels = 2, kZeroPoint = -3 };  // a block of codes is 16 channels by 4 of the depth

typedef struct {
  uint64_t depth, channels, rows;
  int8_t *in, *packed_rows, *codes, *out;
  uint8_t* levels[kLevels];  // 8|4: upper nibbles, lower nibbles
  int32_t* bias;
  float* multiplier;
} Layer;

static inline const int8_t* codes_of(const Layer* layer, uint64_t channel) __arm_streaming_compatible {
  return layer->codes + channel / 16 * layer->depth / 4 * kBlock + channel % 16 * 4;
}

// Rows `first` to first + 2 * svcntw() as two panels [depth / 4][svcntw()][4]: what an outer product reads. Rows go
// into ZA one above the other and come out as columns, four bytes wide.
__attribute__((noinline)) __arm_new("za") __arm_locally_streaming static void pack_rows(Layer* layer, uint64_t first) {
  const uint64_t words = svcntw(), depth = layer->depth;
  int8_t* out = layer->packed_rows + first * depth;
  for (uint64_t panel = first; panel < first + 2 * words; panel += words) {
    for (uint64_t d = 0; d < depth; d += svcntb()) {
      const svbool_t inside = svwhilelt_b32(d / 4, depth / 4);
      const uint64_t columns = svcntp_b32(inside, inside);
      for (uint64_t r = 0; r < words; ++r) {
        const uint64_t row = panel + r < layer->rows ? panel + r : layer->rows - 1;
        svld1_hor_za32(0, (uint32_t)r, inside, layer->in + row * depth + d);
      }
      for (uint64_t k = 0; k < columns; ++k, out += svcntb()) {
        svst1_ver_za32(0, (uint32_t)k, svptrue_b32(), out);
      }
    }
  }
}

// All codes, full-bit: a line of each level holds two blocks, one a nibble.
__attribute__((noinline)) __arm_locally_streaming static void unpack(Layer* layer) {
  const svbool_t all = svptrue_b8();
  const uint8_t *upper = layer->levels[0], *lower = layer->levels[1];
  uint8_t* out = (uint8_t*)layer->codes;
  for (uint64_t line = 0; line < layer->depth * layer->channels / (2 * kBlock); ++line, out += 2 * kBlock) {
    for (uint64_t at = 0; at < kBlock; at += svcntb(), upper += svcntb(), lower += svcntb()) {
      const svuint8_t high = svld1(all, upper), low = svld1(all, lower);
      svst1(all, out + at, svsli(low, high, 4));
      svst1(all, out + kBlock + at, svsri(high, low, 4));
    }
  }
}

__attribute__((always_inline)) static inline svint32_t finish(
    svint32_t sums, svint32_t bias, svfloat32_t multiplier) __arm_streaming __arm_inout("za") {
  const svbool_t all = svptrue_b32();
  const svfloat32_t scaled = svmul_x(all, svcvt_f32_x(all, svadd_x(all, sums, bias)), multiplier);
  const svint32_t code = svadd_x(all, svcvt_s32_x(all, svrintn_x(all, scaled)), kZeroPoint);
  return svmin_x(all, svmax_x(all, code, -128), 127);
}

// Two panels of rows by twice svcntw() channels: all four tiles of ZA, four loads for four outer products.
__attribute__((noinline)) __arm_new("za") __arm_locally_streaming static void multiply(Layer* layer, uint64_t first,
                                                                                       uint64_t channel) {
  const uint64_t words = svcntw(), bytes = svcntb(), depth = layer->depth;
  const svbool_t all8 = svptrue_b8(), all = svptrue_b32();
  const int8_t *upper = layer->packed_rows + first * depth, *lower = upper + words * depth;
  const int8_t *left = codes_of(layer, channel), *right = codes_of(layer, channel + words);
  svzero_za();
#pragma clang loop unroll_count(4)
  for (uint64_t k = 0; k < depth / 4; ++k) {
    const svint8_t rows0 = svld1(all8, upper + k * bytes), rows1 = svld1(all8, lower + k * bytes);
    const svint8_t codes0 = svld1(all8, left + k * kBlock), codes1 = svld1(all8, right + k * kBlock);
    svmopa_za32_s8_m(0, all8, all8, rows0, codes0);
    svmopa_za32_s8_m(1, all8, all8, rows0, codes1);
    svmopa_za32_s8_m(2, all8, all8, rows1, codes0);
    svmopa_za32_s8_m(3, all8, all8, rows1, codes1);
  }
  const svint32_t bias0 = svld1(all, layer->bias + channel), zero = svdup_s32(0);
  const svint32_t bias1 = svld1(all, layer->bias + channel + words);
  const svfloat32_t multiplier0 = svld1(all, layer->multiplier + channel);
  const svfloat32_t multiplier1 = svld1(all, layer->multiplier + channel + words);
  for (uint64_t r = 0; r < words && first + r < layer->rows; ++r) {
    const uint32_t slice = (uint32_t)r;
    int8_t* out = layer->out + (first + r) * layer->channels + channel;
    svst1b(all, out, finish(svread_hor_za32_m(zero, all, 0, slice), bias0, multiplier0));
    svst1b(all, out + words, finish(svread_hor_za32_m(zero, all, 1, slice), bias1, multiplier1));
    if (first + words + r >= layer->rows) continue;
    out += words * layer->channels;
    svst1b(all, out, finish(svread_hor_za32_m(zero, all, 2, slice), bias0, multiplier0));
    svst1b(all, out + words, finish(svread_hor_za32_m(zero, all, 3, slice), bias1, multiplier1));
  }
}

static uint64_t words_of_a_vector(void) {
  uint64_t bytes = 0;
  __asm__("rdsvl %0, #1" : "=r"(bytes));
  return bytes / 4;
}

static void* random_bytes(uint64_t count, uint32_t* state) {
  uint8_t* bytes = malloc(count);
  for (uint64_t i = 0; i < count; ++i) bytes[i] = (uint8_t)((*state = *state * 1664525 + 1013904223) >> 24);
  return bytes;
}

static Layer random_layer(uint64_t depth, uint64_t channels, uint64_t rows) {
  uint32_t state = 1;
  Layer layer = {.depth = depth, .channels = channels, .rows = rows};
  layer.in = random_bytes(rows * depth, &state);
  for (int level = 0; level < kLevels; ++level) layer.levels[level] = random_bytes(channels * depth / 2, &state);
  layer.packed_rows = malloc((rows + 2 * words_of_a_vector()) * depth);
  layer.codes = malloc(channels * depth);
  layer.out = malloc(rows * channels);
  layer.bias = malloc(channels * sizeof(int32_t));
  layer.multiplier = malloc(channels * sizeof(float));
  for (uint64_t c = 0; c < channels; ++c) {
    layer.bias[c] = (int32_t)c * 7 - 900;
    layer.multiplier[c] = 1e-4f * (float)(1 + c % 9);
  }
  return layer;
}

// The code of a weight, by FORMAT.md: a line's byte j has weight j of two blocks.
static int code_of(const Layer* layer, uint64_t channel, uint64_t d) {
  const uint64_t block = channel / 16 * layer->depth / 4 + d / 4;
  const uint64_t byte = block / 2 * kBlock + channel % 16 * 4 + d % 4;
  const int shift = (int)(block % 2) * 4;
  const int upper = layer->levels[0][byte] >> shift & 15, lower = layer->levels[1][byte] >> shift & 15;
  return (int8_t)(upper << 4 | lower);
}

static int count_differences(const Layer* layer) {
  int differ = 0;
  for (uint64_t r = 0; r < layer->rows; ++r) {
    for (uint64_t c = 0; c < layer->channels; ++c) {
      int32_t sum = layer->bias[c];
      for (uint64_t d = 0; d < layer->depth; ++d) sum += layer->in[r * layer->depth + d] * code_of(layer, c, d);
      const float scaled = rintf((float)sum * layer->multiplier[c]) + kZeroPoint;
      differ += (int)fminf(fmaxf(scaled, -128), 127) != layer->out[r * layer->channels + c];
    }
  }
  return differ;
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 7) return 2;
  uint64_t numbers[6] = {0, 0, 0, 1, 1, 1};
  for (int i = 1; i < argc; ++i) numbers[i - 1] = strtoull(argv[i], NULL, 10);
  Layer layer = random_layer(numbers[0], numbers[1], numbers[2]);
  const uint64_t step = 2 * words_of_a_vector();
  for (uint64_t n = 0; n < numbers[3]; ++n) {
    for (uint64_t row = 0; row < layer.rows; row += step) pack_rows(&layer, row);
  }
  for (uint64_t n = 0; n < numbers[4]; ++n) unpack(&layer);
  for (uint64_t n = 0; n < numbers[5]; ++n) {
    for (uint64_t row = 0; row < layer.rows; row += step) {
      for (uint64_t c = 0; c < layer.channels; c += step) multiply(&layer, row, c);
    }
  }
  if (argc == 7) return 0;
  const int differ = count_differences(&layer);
  printf("%d of %d outputs differ\n", differ, (int)(layer.rows * layer.channels));
  return differ != 0;
}
