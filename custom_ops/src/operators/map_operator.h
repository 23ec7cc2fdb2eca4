// An operator whose output has the shape of its only input, and each element of it depends on one element.
#pragma once

#include <type_traits>

#include "layers/table.h"
#include "operators/operator.h"

namespace nq {

// `Function` has run(const In*, int64_t count, Out*) const.
template <typename In, typename Out, typename Function>
class MapOperator : public Operator {
 public:
  MapOperator(int input, int output, const Function& function)
      : Operator({input}, output, sizeof(Out)), function_(function) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    *output = shapes.at(inputs()[0]);
    elements_ = num_elements(*output);
    return {};
  }

  const Table* table() const override {
    if constexpr (std::is_same_v<Function, Table>) return &function_;
    return nullptr;
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const In* in = input<In>(tensors, 0);
    Out* out = output<Out>(tensors);
    share(threads, elements_, 1,
          [&](Range range) { function_.run(in + range.begin, range.end - range.begin, out + range.begin); });
  }

 private:
  using Operator::output;
  Function function_;
  int64_t elements_ = 0;
};

}  // namespace nq
