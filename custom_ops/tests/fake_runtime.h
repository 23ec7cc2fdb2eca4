// As much of a TFLite interpreter as the delegate sees: one graph, claimed, prepared, run. Of what is not claimed
// nothing runs.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "naive_format.h"
#include "tflite_abi.h"

namespace nq_test {

class FakeRuntime {
 public:
  FakeRuntime();
  ~FakeRuntime();
  FakeRuntime(const FakeRuntime&) = delete;
  FakeRuntime& operator=(const FakeRuntime&) = delete;

  int add_constant(TfLiteType type, const std::vector<int>& shape, const void* data, size_t bytes);
  int add_output(const std::string& name, TfLiteType type, const std::vector<int>& shape);
  // Of an activation.
  void set_quantization(int tensor, float scale, int zero_point);
  void set_scales(int tensor, const std::vector<float>& scales, int axis);
  // The options are not copied, as a runtime's are not.
  int add_node(const char* custom_name, const std::vector<int>& inputs, const std::vector<int>& outputs,
               const Bytes& options);
  // The parameters are not copied.
  int add_builtin(int32_t code, const std::vector<int>& inputs, const std::vector<int>& outputs, const void* params);

  // Every claimed node is to be a partition of its own, as under LiteRT when it keeps all tensors.
  void part_nodes() { parts_nodes_ = true; }
  // As of runtimes that have no preview of partitions.
  void hide_preview() { context_.PreviewDelegatePartitioning = nullptr; }

  TfLiteStatus apply(TfLiteDelegate* delegate);
  TfLiteStatus prepare();
  TfLiteStatus invoke();

  TfLiteTensor& tensor(int index) { return tensors_[static_cast<size_t>(index)]; }
  TfLiteRegistration& registration(int index) { return nodes_[static_cast<size_t>(index)].registration; }
  TfLiteNode& node(int index) { return *nodes_[static_cast<size_t>(index)].node; }
  TfLiteContext* context() { return &context_; }
  size_t num_claims() const { return claims_.size(); }
  size_t num_node_reads() const { return num_node_reads_; }
  const std::string& errors() const { return errors_; }

 private:
  struct Node {
    std::unique_ptr<TfLiteNode> node;
    TfLiteRegistration registration;
  };

  static FakeRuntime& self(TfLiteContext* context) { return *static_cast<FakeRuntime*>(context->impl_); }
  size_t num_node_reads_ = 0;

  static TfLiteStatus get_plan(TfLiteContext* context, TfLiteIntArray** plan);
  static TfLiteStatus get_node(TfLiteContext* context, int index, TfLiteNode** node, TfLiteRegistration** registration);
  static TfLiteStatus replace(TfLiteContext* context, TfLiteRegistration registration, const TfLiteIntArray* nodes,
                              TfLiteDelegate* delegate);
  static TfLiteStatus preview(TfLiteContext* context, const TfLiteIntArray* nodes, TfLiteDelegateParams** partitions,
                              int* num_partitions);
  static TfLiteStatus resize(TfLiteContext* context, TfLiteTensor* tensor, TfLiteIntArray* shape);
  static void report(TfLiteContext* context, const char* format, ...);

  int add_tensor(TfLiteType type, const std::vector<int>& shape);
  std::vector<std::vector<int>> partitions_of(const TfLiteIntArray& nodes) const;
  void claim(const TfLiteRegistration& registration, const std::vector<int>& nodes, TfLiteDelegate* delegate);

  TfLiteContext context_ = {};
  std::vector<TfLiteTensor> tensors_;
  std::deque<std::string> names_;
  std::deque<std::vector<uint8_t>> arena_;
  std::deque<TfLiteAffineQuantization> quantizations_;
  std::vector<void*> arrays_;  // from malloc
  std::deque<Node> nodes_;
  std::deque<Node> claims_;
  std::set<int> claimed_;  // nodes that a claim stands for
  TfLiteIntArray* plan_ = nullptr;
  bool parts_nodes_ = false;
  std::vector<TfLiteDelegateParams> previewed_;
  std::string errors_;
};

}  // namespace nq_test
