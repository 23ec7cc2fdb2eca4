#include "layers/quantize_rows.h"

#include <vector>

#include "format/bytes.h"

namespace nq {
namespace {

// Whoever copies short pieces of a row may read as far behind its last code.
constexpr uint64_t kSlack = 64;

// Fewer floats take less time than waking a thread does: `pool_bench`.
constexpr int64_t kMinFloatsToShare = 1 << 14;

struct Rows {
  int8_t* codes;
  float* scale;
  int32_t* zero_point;
};

Rows place_rows(int64_t row_size, int64_t num_rows, Workspace* workspace) {
  const auto rows = static_cast<uint64_t>(num_rows);
  const size_t scale_bytes = align(rows * sizeof(float), 64), zero_point_bytes = align(rows * sizeof(int32_t), 64);
  uint8_t* memory = workspace->get(scale_bytes + zero_point_bytes + rows * static_cast<uint64_t>(row_size) + kSlack);
  return {reinterpret_cast<int8_t*>(memory + scale_bytes + zero_point_bytes), reinterpret_cast<float*>(memory),
          reinterpret_cast<int32_t*>(memory + scale_bytes)};
}

FloatRange range_of_long_row(const QuantizeKernel& kernel, const float* row, int64_t size, ThreadPool* pool) {
  std::vector<FloatRange> ranges(static_cast<size_t>(pool->size()));
  pool->run([&](int part, Workspace*) {
    const auto [begin, end] = split_range(size, part, pool->size());
    ranges[static_cast<size_t>(part)] = kernel.find_range(row + begin, static_cast<size_t>(end - begin));
  });
  FloatRange range = ranges[0];
  for (const FloatRange& each : ranges) range = join(range, each);
  return range;
}

// Splits the row itself: first its range in parts, then its codes.
ActivationQuantization quantize_long_row(const QuantizeKernel& kernel, const float* row, int64_t size, int8_t* codes,
                                         ThreadPool* pool, const FloatRange* range) {
  const ActivationQuantization quantization =
      quantization_of(range == nullptr ? range_of_long_row(kernel, row, size, pool) : *range);
  pool->run([&](int part, Workspace*) {
    const auto [begin, end] = split_range(size, part, pool->size());
    quantize(kernel, row + begin, static_cast<size_t>(end - begin), quantization, codes + begin);
  });
  return quantization;
}

struct Grouped {
  int8_t* codes;
  float* scales;
  int32_t* sums;
};

Grouped place_groups(const GroupedShape& shape, Workspace* workspace) {
  const size_t groups = shape.num_groups();
  const size_t scale_bytes = align(groups * sizeof(float), 64),
               sum_bytes = align(groups * kGroupSums * sizeof(int32_t), 64);
  uint8_t* memory = workspace->get(scale_bytes + sum_bytes + groups * shape.group_size);
  return {reinterpret_cast<int8_t*>(memory + scale_bytes + sum_bytes), reinterpret_cast<float*>(memory),
          reinterpret_cast<int32_t*>(memory + scale_bytes)};
}

ActivationQuantization quantize_row(const QuantizeKernel& kernel, const float* row, int64_t size, int8_t* codes,
                                    const FloatRange* range) {
  const auto count = static_cast<size_t>(size);
  const ActivationQuantization quantization =
      quantization_of(range == nullptr ? kernel.find_range(row, count) : *range);
  quantize(kernel, row, count, quantization, codes);
  return quantization;
}

}  // namespace

QuantizedRows quantize_rows(const QuantizeKernel& kernel, const float* rows, int64_t row_size, int64_t num_rows,
                            ThreadPool* pool, const FloatRange* range) {
  const Rows out = place_rows(row_size, num_rows, &pool->shared_workspace());
  const auto keep = [&](int64_t row, const ActivationQuantization& quantization) {
    out.scale[row] = quantization.scale;
    out.zero_point[row] = quantization.zero_point;
  };
  const auto quantize_range = [&](Range some) {
    for (int64_t row = some.begin; row < some.end; ++row) {
      keep(row, quantize_row(kernel, rows + row * row_size, row_size, out.codes + row * row_size, range));
    }
  };
  if (pool->size() == 1 || row_size * num_rows < kMinFloatsToShare) {
    quantize_range({0, num_rows});
  } else if (num_rows == 1) {
    keep(0, quantize_long_row(kernel, rows, row_size, out.codes, pool, range));
  } else {
    pool->run([&](int part, Workspace*) { quantize_range(split_range(num_rows, part, pool->size())); });
  }
  return {out.codes, out.scale, out.zero_point};
}

QuantizedRows quantized_rows(int64_t row_size, int64_t num_rows, ThreadPool* pool) {
  const Rows rows = place_rows(row_size, num_rows, &pool->shared_workspace());
  return {rows.codes, rows.scale, rows.zero_point};
}

GroupRows quantize_grouped_rows(const QuantizeKernel& kernel, const float* rows, const GroupedShape& shape,
                                ThreadPool* pool) {
  const Grouped out = place_groups(shape, &pool->shared_workspace());
  const auto num_groups = static_cast<int64_t>(shape.num_groups()), size = static_cast<int64_t>(shape.group_size);
  const auto quantize_range = [&](Range range) {
    for (int64_t group = range.begin; group < range.end; ++group) {
      int8_t* codes = out.codes + group * size;
      const ActivationQuantization found = quantize_group(kernel, rows + group * size, shape.group_size, codes);
      out.scales[group] = found.scale;
      sum_group(codes, shape.group_size, found.zero_point, out.sums + group * int64_t{kGroupSums});
    }
  };
  if (pool->size() == 1 || num_groups * size < kMinFloatsToShare) {
    quantize_range({0, num_groups});
  } else {
    pool->run([&](int part, Workspace*) { quantize_range(split_range(num_groups, part, pool->size())); });
  }
  return {out.codes, out.scales, out.sums, shape.depth, shape.num_rows};
}

GroupRows quantized_grouped_rows(const GroupedShape& shape, ThreadPool* pool) {
  const Grouped rows = place_groups(shape, &pool->shared_workspace());
  return {rows.codes, rows.scales, rows.sums, shape.depth, shape.num_rows};
}

}  // namespace nq
