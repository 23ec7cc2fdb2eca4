// Transpositions and slices against a loop over every element.
#include "layers/strided_copy.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"

namespace nq {
namespace {

using Axes = std::vector<StridedCopy::Axis>;

template <typename Element>
std::vector<Element> copied_one_by_one(const std::vector<Element>& in, const Axes& axes, int64_t offset) {
  std::vector<int64_t> places{offset};
  for (const StridedCopy::Axis& axis : axes) {
    std::vector<int64_t> next;
    for (const int64_t place : places) {
      for (int64_t i = 0; i < axis.size; ++i) next.push_back(place + i * axis.stride);
    }
    places = std::move(next);
  }
  std::vector<Element> out;
  for (const int64_t place : places) out.push_back(in[static_cast<size_t>(place)]);
  return out;
}

template <typename Element>
void check_copies(const Axes& axes, int64_t offset) {
  int64_t last = offset;
  for (const StridedCopy::Axis& axis : axes) last += (axis.size - 1) * axis.stride;
  std::vector<Element> in(static_cast<size_t>(last + 1));
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<Element>(i * 7 + 3);
  const std::vector<Element> expected = copied_one_by_one(in, axes, offset);
  StridedCopy copy;
  copy.set(axes, offset);
  CHECK_EQ(expected.size(), static_cast<size_t>(copy.rows() * copy.row_elements()));
  std::vector<Element> out(expected.size());
  const int64_t middle = copy.rows() / 2;  // as two threads share it
  copy.copy_rows(in.data(), {0, middle}, out.data());
  copy.copy_rows(in.data(), {middle, copy.rows()}, out.data());
  CHECK(expected == out);
}

TEST(channel_shuffles) {
  for (const int64_t groups : {2, 3, 8}) {
    for (const int64_t channels : {1, 4, 29, 58, 232}) {
      const Axes axes = {{5, groups * channels}, {channels, 1}, {groups, channels}};
      check_copies<int8_t>(axes, 0);
      check_copies<float>(axes, 0);
    }
  }
}

// Rows that lie side by side are copied together, but for the last ones of a matrix.
TEST(transposed_matrices) {
  for (const auto& [rows, columns] : std::vector<std::array<int64_t, 2>>{{16, 64}, {37, 66}, {15, 70}, {196, 67}}) {
    for (const Axes& axes :
         {Axes{{rows, 1}, {columns, rows + 1}}, Axes{{3, rows * columns}, {rows, 1}, {columns, rows}}}) {
      check_copies<int8_t>(axes, 2);
      check_copies<float>(axes, 0);
    }
  }
}

TEST(every_order_of_small_axes) {
  std::mt19937 random(0);
  const auto below = [&](int64_t count) { return static_cast<int64_t>(random() % static_cast<uint64_t>(count)); };
  for (int round = 0; round < 300; ++round) {
    Axes axes;
    int64_t stride = 1 + below(3);
    for (int64_t left = below(5); left >= 0; --left) {
      axes.push_back({1 + below(left == 0 ? 90 : 5), stride});
      stride *= axes.back().size + below(2);
    }
    std::shuffle(axes.begin(), axes.end(), random);
    check_copies<int8_t>(axes, below(4));
    check_copies<float>(axes, below(4));
  }
}

}  // namespace
}  // namespace nq
