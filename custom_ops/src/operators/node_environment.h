// What all nodes of one delegate share.
#pragma once

#include <memory>

#include "kernels/kernels.h"
#include "layers/padding_row.h"
#include "session/session.h"
#include "threads/thread_pool.h"

namespace nq {

// What a delegate's data_ points to.
struct NodeEnvironment {
  std::shared_ptr<Session> session;
  Kernels kernels;
  std::shared_ptr<ThreadPool> threads;
  int num_threads = 0;   // 0: as many as the runtime recommends
  bool profile = false;  // whether nodes keep their layers' times
  // Partitions run one after the other, and so do their layers.
  std::shared_ptr<Workspace> arena;  // for tensors within partitions
  std::shared_ptr<PaddingRow> padding;
};

}  // namespace nq
