#include "layers/broadcast.h"

#include <algorithm>

namespace nq {
namespace {

// Size of the axis'th dimension from behind; 1 in front of the first.
int64_t size_from_behind(const std::vector<int32_t>& shape, size_t axis) {
  return axis < shape.size() ? shape[shape.size() - 1 - axis] : 1;
}

}  // namespace

bool Broadcast::set(const std::vector<int32_t>& a, const std::vector<int32_t>& b, std::vector<int32_t>* output) {
  axes_.clear();
  elements_ = 1;
  output->assign(std::max(a.size(), b.size()), 1);
  int64_t a_elements = 1, b_elements = 1;
  for (size_t axis = 0; axis < output->size(); ++axis) {
    const int64_t in_a = size_from_behind(a, axis), in_b = size_from_behind(b, axis);
    if (in_a != in_b && in_a != 1 && in_b != 1) return false;
    const int64_t size = in_a == 1 ? in_b : in_a;
    (*output)[output->size() - 1 - axis] = static_cast<int32_t>(size);
    elements_ *= size;
    if (size == 1) continue;
    const Axis next{size, in_a == 1 ? 0 : a_elements, in_b == 1 ? 0 : b_elements};
    a_elements *= in_a;
    b_elements *= in_b;
    const bool same_kind = !axes_.empty() && (next.a_stride == 0) == (axes_.back().a_stride == 0) &&
                           (next.b_stride == 0) == (axes_.back().b_stride == 0);
    if (same_kind) {
      axes_.back().size *= size;
    } else {
      axes_.push_back(next);
    }
  }
  if (axes_.empty()) axes_.push_back({1, 1, 1});
  return true;
}

BroadcastRun Broadcast::run_at(int64_t begin, int64_t end) const {
  const Axis& inner = axes_.front();
  const int64_t first = begin % inner.size;
  BroadcastRun run{first * inner.a_stride,
                   first * inner.b_stride,
                   inner.a_stride,
                   inner.b_stride,
                   begin,
                   std::min(inner.size - first, end - begin)};
  int64_t outer = begin / inner.size;
  for (size_t axis = 1; axis < axes_.size(); ++axis) {
    const int64_t position = outer % axes_[axis].size;
    run.a += position * axes_[axis].a_stride;
    run.b += position * axes_[axis].b_stride;
    outer /= axes_[axis].size;
  }
  return run;
}

}  // namespace nq
